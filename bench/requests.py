"""What an election system sends, made and signed before the clock runs."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

from bench.load import Exchange
from bench.running import ELECTION, RunningService
from signer.receipts.registration import sign_batch, sign_receipt_request, sign_registration

JOSE = {"Content-Type": "application/jose"}


def ballot(number: int) -> bytes:
    """A sealed ballot: its size is nobody's matter, only its hash is sent."""
    return b"sealed ballot %d" % number


def submission_id(number: int) -> str:
    return f"submission-{number:010d}"


def single(service: RunningService, number: int, at: datetime) -> Exchange:
    """The registration of one ballot, and the request for its receipt."""
    name = submission_id(number)
    body = sign_registration(
        private_key=service.system_key,
        audience=service.ports.origin,
        election_id=ELECTION,
        submission_id=name,
        ballot_sha256=hashlib.sha256(ballot(number)).digest(),
        at=at,
    )
    token = sign_receipt_request(
        private_key=service.system_key,
        audience=service.ports.origin,
        election_id=ELECTION,
        submission_id=name,
        at=at,
    )
    return Exchange(
        http_request("POST", f"/elections/{ELECTION}/ballots", JOSE, body.encode()),
        http_request(
            "GET", f"/elections/{ELECTION}/receipts/{name}", {"Authorization": f"Bearer {token}"}
        ),
    )


def batch(service: RunningService, numbers: Sequence[int], at: datetime) -> Exchange:
    """The registration of many ballots; sent again, it fetches their receipts."""
    body = sign_batch(
        private_key=service.system_key,
        audience=service.ports.origin,
        election_id=ELECTION,
        ballots=[
            (submission_id(number), hashlib.sha256(ballot(number)).digest()) for number in numbers
        ],
        at=at,
    )
    request = http_request("POST", f"/elections/{ELECTION}/ballots:batch", JOSE, body.encode())
    return Exchange(request, request)


def http_request(method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> bytes:
    """A whole HTTP/1.1 request."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body
