"""Citizens and an election system that never give up: they ask again until they are answered."""

import hashlib
import json
import queue
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.cookies import SimpleCookie

import urllib3
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from signer.receipts.registration import sign_receipt_request, sign_registration
from tests.support.login import card_signature, web_eid_token

TIMEOUT_SECONDS = 15.0
PATIENCE_SECONDS = 60.0
RETRY_SECONDS = 0.1
JOSE = "application/jose"


class NoAnswer(Exception):
    """The connection failed, or the service said that it is away for a moment."""


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    cookies: dict[str, str]

    def json(self) -> dict[str, object]:
        parsed = json.loads(self.body)
        assert isinstance(parsed, dict)
        return parsed


class Site:
    """The service under load, over TLS, as many connections as there are threads."""

    def __init__(self, origin: str, ca_file: str, threads: int) -> None:
        self.origin = origin
        self._pool = urllib3.PoolManager(
            maxsize=threads,
            ssl_context=ssl.create_default_context(cafile=ca_file),
            retries=False,
            timeout=TIMEOUT_SECONDS,
        )

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Reply:
        """One request.

        Raises:
            NoAnswer: nothing came back, or 503.
        """
        try:
            answer = self._pool.request(
                method, self.origin + path, body=body, headers=headers or {}, redirect=False
            )
        except urllib3.exceptions.HTTPError as error:
            raise NoAnswer(type(error).__name__) from error
        if answer.status == 503:
            raise NoAnswer("503")
        cookies = {
            name: morsel.value
            for line in answer.headers.getlist("Set-Cookie")
            for name, morsel in SimpleCookie(line).items()
        }
        return Reply(answer.status, answer.data, cookies)

    def ask_until_answered(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Reply:
        """The same request again and again; AssertionError when patience ends."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self.ask(method, path, body, headers)
            except NoAnswer:
                assert time.monotonic() < deadline, f"{method} {path.split('/')[1]}: no answer"
                time.sleep(RETRY_SECONDS)


@dataclass
class Tally:
    """What happened, counted from many threads."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, took: float | None = None) -> None:
        with self.lock:
            self.counts[what] += 1
            if took is not None:
                self.seconds.setdefault(what, []).append(took)

    def is_wrong(self, what: str) -> None:
        with self.lock:
            self.wrong.append(what)

    def percentile(self, what: str, share: float) -> float:
        ordered = sorted(self.seconds.get(what, [0.0]))
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Pace:
    """Starts something so many times a second, in threads of its own, until told to stop."""

    def __init__(self, action: Callable[[int], None], *, per_second: float, threads: int) -> None:
        self._action = action
        self._interval = 1.0 / per_second
        self._work: queue.Queue[int | None] = queue.Queue()
        self._stopping = threading.Event()
        self._workers = [threading.Thread(target=self._carry_out) for _ in range(threads)]
        self._clock = threading.Thread(target=self._tick)
        for thread in (*self._workers, self._clock):
            thread.start()

    def stop(self) -> None:
        """Begin nothing new, and wait until all that began is done."""
        self._stopping.set()
        self._clock.join()
        for _ in self._workers:
            self._work.put(None)
        for thread in self._workers:
            thread.join()

    def _tick(self) -> None:
        number, due = 0, time.monotonic()
        while not self._stopping.is_set():
            self._work.put(number)
            number += 1
            due += self._interval
            self._stopping.wait(max(0.0, due - time.monotonic()))

    def _carry_out(self) -> None:
        while (number := self._work.get()) is not None:
            self._action(number)


@dataclass
class Citizens:
    """Logins with one card's key; each is repeated from the beginning until it succeeded."""

    site: Site
    certificate: bytes
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
    algorithm: str
    tally: Tally

    def sign_in(self, _number: int) -> None:
        began = time.monotonic()
        while True:
            try:
                self._attempt()
            except NoAnswer:
                self.tally.count("login begun anew")
                if time.monotonic() > began + PATIENCE_SECONDS:
                    self.tally.is_wrong("a login: no answer")
                    return
                time.sleep(RETRY_SECONDS)
            else:
                self.tally.count("login", time.monotonic() - began)
                return

    def _attempt(self) -> None:
        headers = {"Content-Type": "application/json", "Origin": self.site.origin}
        drawn = self.site.ask("POST", "/auth/challenge", b"{}", headers)
        if drawn.status != 200:
            self.tally.is_wrong(f"a challenge: {drawn.status} {drawn.body[:200]!r}")
            return
        challenge = drawn.json()
        nonce = str(challenge["nonce"])
        signature = card_signature(self.key, self.algorithm, self.site.origin, nonce)
        body = {
            "challenge_id": challenge["challenge_id"],
            "authToken": web_eid_token(self.certificate, self.algorithm, signature),
        }
        told = self.site.ask(
            "POST",
            "/auth/login",
            json.dumps(body).encode(),
            {**headers, "Cookie": _cookie_line(drawn.cookies)},
        )
        if told.status != 200:
            self.tally.is_wrong(f"a login: {told.status} {told.body[:200]!r}")
            return
        # An answered login holds: its session is there, whoever was killed in between.
        me = self.site.ask_until_answered(
            "GET",
            "/me",
            headers={"Accept": "application/json", "Cookie": _cookie_line(told.cookies)},
        )
        if me.status != 200 or me.json()["subject"] != told.json()["subject"]:
            self.tally.is_wrong(f"a session: {me.status}")


@dataclass
class ElectionSystem:
    """Registers ballots and fetches their receipts; keeps all of them."""

    site: Site
    election_id: str
    key: ec.EllipticCurvePrivateKey
    tally: Tally
    receipts: dict[int, bytes] = field(default_factory=dict)
    accepted: set[int] = field(default_factory=set)

    def register(self, number: int) -> None:
        began = time.monotonic()
        body = sign_registration(
            private_key=self.key,
            audience=self.site.origin,
            election_id=self.election_id,
            submission_id=submission_id(number),
            ballot_sha256=hashlib.sha256(ballot(number)).digest(),
            at=datetime.now(UTC),
        )
        path = f"/elections/{self.election_id}/ballots"
        try:
            reply = self.site.ask_until_answered(
                "POST", path, body.encode(), {"Content-Type": JOSE}
            )
            if reply.status in (200, 202):
                self.accepted.add(number)
            while reply.status == 202 and time.monotonic() < began + PATIENCE_SECONDS:
                time.sleep(RETRY_SECONDS)
                reply = self.fetch(number)
        except AssertionError as error:
            self.tally.is_wrong(str(error))
            return
        if reply.status != 200:
            self.tally.is_wrong(f"a ballot: {reply.status} {reply.body[:200]!r}")
            return
        self.receipts[number] = str(reply.json()["receipt"]).encode()
        self.tally.count("receipt", time.monotonic() - began)

    def fetch(self, number: int) -> Reply:
        """Ask for a receipt once more."""
        token = sign_receipt_request(
            private_key=self.key,
            audience=self.site.origin,
            election_id=self.election_id,
            submission_id=submission_id(number),
            at=datetime.now(UTC),
        )
        path = f"/elections/{self.election_id}/receipts/{submission_id(number)}"
        return self.site.ask_until_answered(
            "GET", path, headers={"Authorization": f"Bearer {token}"}
        )


def submission_id(number: int) -> str:
    return f"submission-{number:08d}"


def ballot(number: int) -> bytes:
    return b"sealed ballot %d" % number


def _cookie_line(cookies: dict[str, str]) -> str:
    return "; ".join(f"{name}={value}" for name, value in cookies.items())
