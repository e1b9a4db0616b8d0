"""The demonstration's own browser and election system: an HTTPS client with cookies.

It plays the people outside, so it is not part of the service's egress.
"""

import json
import ssl
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import urllib3

TIMEOUT_SECONDS = 15.0
MAX_ANSWER_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer.

    Attributes:
        status: HTTP status.
        body: at most one MiB.
    """

    status: int
    body: bytes = field(repr=False)

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; an empty one if it is none."""
        try:
            parsed = json.loads(self.body)
        except ValueError:
            return {}
        return parsed if isinstance(parsed, dict) else {}


@dataclass(slots=True)
class Client:
    """Talks to one origin and keeps its cookies.

    Attributes:
        origin: `https://host:port`.
        ca_file: PEM of the root that its certificate chains to.
    """

    origin: str
    ca_file: Path
    _pool: urllib3.PoolManager = field(init=False, repr=False)
    _cookies: dict[str, str] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        context = ssl.create_default_context(cafile=str(self.ca_file))
        self._pool = urllib3.PoolManager(
            ssl_context=context, retries=False, timeout=TIMEOUT_SECONDS
        )

    def get(self, path: str, headers: dict[str, str] | None = None) -> Answer:
        """Fetch a path of the origin."""
        return self._request("GET", path, None, headers or {})

    def post_json(self, path: str, body: object) -> Answer:
        """Post JSON, as the page does."""
        headers = {"Content-Type": "application/json", "Origin": self.origin}
        return self._request("POST", path, json.dumps(body).encode(), headers)

    def post(self, path: str, body: bytes, content_type: str) -> Answer:
        """Post bytes, as another service does."""
        return self._request("POST", path, body, {"Content-Type": content_type})

    def _request(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> Answer:
        if self._cookies:
            cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
            headers = {**headers, "Cookie": cookies}
        response = self._pool.request(
            method,
            self.origin + path,
            body=body,
            headers=headers,
            redirect=False,
            preload_content=False,
        )
        try:
            content = response.read(MAX_ANSWER_BYTES)
        finally:
            response.release_conn()
        for line in response.headers.getlist("Set-Cookie"):
            for name, morsel in SimpleCookie(line).items():
                self._cookies[name] = morsel.value
        return Answer(response.status, content)
