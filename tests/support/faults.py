"""A home whose service a test can kill at a named point, and everything that must hold after it."""

import base64
import hashlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from signer.receipts.election import Manifest
from signer.receipts.registration import sign_close, sign_receipt_request, sign_registration
from tests.support.mischief import Mischief
from tests.support.softhsm import MODULE
from webapi.cli.home import Home

START = datetime(2026, 11, 21, 9, 30, 17, tzinfo=UTC)
ORIGIN = "https://localhost:8443"
DEADLINE_SECONDS = 90.0
ROUNDS = 12
JOSE = {"Content-Type": "application/jose"}


class Killed(Exception):
    """The service ended with SIGKILL instead of answering."""


@dataclass(frozen=True)
class Point:
    """Where a service ends, or stands still: at which of several times that it passes by."""

    name: str
    skip: int = 0

    def __str__(self) -> str:
        return f"{self.name.lower().replace(' ', '-').replace('_', '-')}-{self.skip + 1}"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        members: dict[str, Any] = json.loads(self.body)
        return members


def make_home(directory: Path) -> Home:
    """A development home, as `tamga init` makes it."""
    home = Home(directory)
    subprocess.run(
        [sys.executable, "-m", "webapi.cli", "--config", str(home.config), "init"],
        check=True,
        capture_output=True,
        timeout=120,
    )
    return home


def copy_home(original: Home, directory: Path, module: Path) -> Home:
    """The same home elsewhere; its tokens are used through another module."""
    shutil.copytree(original.directory, directory)
    home = Home(directory)
    for file in (home.config, home.hsm / "softhsm2.conf"):
        text = file.read_text().replace(str(original.directory), str(directory))
        file.write_text(text.replace(str(MODULE), str(module)))
    return home


class Service:
    """One process of `tests.support.fault_service`."""

    def __init__(self, home: Home, *, prefix: Sequence[str] = (), small_disk: int = 0) -> None:
        self.home = home
        arguments = {"home": str(home.directory), "small_disk": small_disk}
        program = [sys.executable, "-m", "tests.support.fault_service", json.dumps(arguments)]
        # In the command line and not only around it: sudo passes no environment on.
        environment = {
            **Mischief(home.directory).environment,
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        assignments = [f"{name}={value}" for name, value in environment.items()]
        with (home.directory / "service.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*prefix, "env", *assignments, *program],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={k: v for k, v in os.environ.items() if not k.startswith("TAMGA_")},
            )

    def send(self, do: str, *, at: datetime, **members: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, "at": at.isoformat(), **members}) + "\n")
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """The answer; Killed if the process killed itself instead."""
        output = self.process.stdout
        assert output is not None
        readable, _, _ = select.select([output], [], [], DEADLINE_SECONDS)
        assert readable, "the service did not answer in time"
        line = output.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        code = self.process.wait(DEADLINE_SECONDS)
        self.close()
        if code == -signal.SIGKILL:
            raise Killed
        log = (self.home.directory / "service.log").read_text()
        raise AssertionError(f"the service ended with {code}:\n{log[-3000:]}")

    def order(self, do: str, *, at: datetime, **members: object) -> dict[str, Any]:
        self.send(do, at=at, **members)
        return self.receive()

    def close(self) -> None:
        """End the process, if it is still there, and close the pipes."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@dataclass
class Scene:
    """An election system's view of a service that crashes."""

    home: Home
    prefix: Sequence[str] = ()
    small_disk: int = 0
    at: datetime = START
    manifests: dict[str, Manifest] = field(default_factory=dict)
    registered: dict[str, list[int]] = field(default_factory=dict)
    receipts: dict[tuple[str, int], bytes] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    notes_seen: dict[str, set[bytes]] = field(default_factory=dict)
    services: list[Service] = field(default_factory=list)

    def __post_init__(self) -> None:
        pem = self.home.election_key.read_bytes()
        key = serialization.load_pem_private_key(pem, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self.key = key

    @property
    def service(self) -> Service:
        return self.services[-1]

    def start(self) -> Service:
        """A new process on the same disk; it is the one that the methods below speak to."""
        self.services.append(Service(self.home, prefix=self.prefix, small_disk=self.small_disk))
        return self.service

    def stop(self) -> None:
        """End all processes."""
        while self.services:
            self.services.pop().close()

    def order(self, do: str, **members: object) -> dict[str, Any]:
        return self.service.order(do, at=self.at, **members)

    def create(self, election_id: str) -> None:
        text = self.order("create", election_id=election_id)["manifest"]
        self.manifests[election_id] = Manifest.parse(text.encode())
        self.registered[election_id] = []

    def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        told = self.order(
            "request",
            method=method,
            path=path,
            headers=headers or {},
            body=base64.b64encode(body).decode(),
        )
        return Answer(told["status"], told["headers"], base64.b64decode(told["body"]))

    def register(self, election_id: str, number: int, *, claimed: datetime | None = None) -> Answer:
        """Register a ballot; what is accepted is expected to get its receipt."""
        body = sign_registration(
            private_key=self.key,
            audience=ORIGIN,
            election_id=election_id,
            submission_id=submission_id(number),
            ballot_sha256=hashlib.sha256(ballot(number)).digest(),
            at=claimed or self.at,
        )
        path = f"/elections/{election_id}/ballots"
        answer = self.request("POST", path, body.encode(), JOSE)
        if answer.status in (200, 202) and number not in self.registered[election_id]:
            self.registered[election_id].append(number)
        return answer

    def register_all(self, election_id: str, count: int) -> None:
        for _ in range(count):
            number = max(self.registered[election_id], default=-1) + 1
            assert self.register(election_id, number).status == 202

    def fetch(self, election_id: str, number: int) -> bytes | None:
        """A receipt, which never changes once it was handed out."""
        token = sign_receipt_request(
            private_key=self.key,
            audience=ORIGIN,
            election_id=election_id,
            submission_id=submission_id(number),
            at=self.at,
        )
        path = f"/elections/{election_id}/receipts/{submission_id(number)}"
        answer = self.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        if answer.status == 202:
            assert (election_id, number) not in self.receipts, "a receipt was taken back"
            return None
        assert answer.status == 200, answer.body
        receipt: bytes = answer.json()["receipt"].encode()
        assert self.receipts.setdefault((election_id, number), receipt) == receipt
        return receipt

    def order_close(self, election_id: str) -> Answer:
        body = sign_close(
            private_key=self.key,
            audience=ORIGIN,
            election_id=election_id,
            no_vote_root=bytes.fromhex("ab" * 32),
            no_vote_size=1,
            at=self.at,
        )
        self.closed.add(election_id)
        return self.request("POST", f"/elections/{election_id}/close", body.encode(), JOSE)

    def run(self) -> dict[str, Any]:
        """One round of the worker."""
        return self.order("run")

    def seal(self) -> dict[str, Any]:
        """One round of the worker's audit job."""
        return self.order("seal")

    def settle(self) -> None:
        """Let the worker go on until every registered ballot has its receipt."""
        for _ in range(ROUNDS):
            told = self.run()
            assert told == {"halted": {}, "busy": {}}, told
            if self.is_settled():
                return
            self.at += timedelta(seconds=31)  # beyond the longest pause after a failure
        raise AssertionError("ballots wait for ever")

    def is_settled(self) -> bool:
        fetched = [
            self.fetch(election_id, number)
            for election_id, numbers in self.registered.items()
            for number in numbers
        ]
        closing = [self.order_close(election_id).status for election_id in sorted(self.closed)]
        genesis = [
            self.request("GET", f"/log/{election_id}/checkpoint").status
            for election_id in self.registered
        ]
        return None not in fetched and set(closing) <= {200} and set(genesis) == {200}

    def arm(self, point: Point, election_id: str, *, action: str = "kill") -> None:
        armed = {
            "name": point.name,
            "skip": point.skip,
            "election_id": election_id,
            "action": action,
        }
        self.order("arm", point=armed)

    def run_until_killed(self) -> None:
        """Rounds of the worker until it reaches the point that was armed."""
        self.order_until_killed("run")

    def order_until_killed(self, do: str) -> None:
        """Give an order again and again until the point that was armed is reached."""
        for _ in range(ROUNDS):
            try:
                self.order(do)
            except Killed:
                self.services.pop()
                return
            self.at += timedelta(seconds=31)
        raise AssertionError("the point was never reached")

    def sign_calls(self) -> int:
        """How often C_Sign was called on the home's tokens, by whatever process."""
        return Mischief(self.home.directory).calls()["C_Sign"]


@contextmanager
def scene(home: Home, **options: Any) -> Iterator[Scene]:
    """A scene whose processes end with it."""
    made = Scene(home, **options)
    try:
        yield made
    finally:
        made.stop()


def submission_id(number: int) -> str:
    return f"submission-{number:08d}"


def ballot(number: int) -> bytes:
    return b"sealed ballot %d" % number


def await_fact(fact: Any, seconds: float = DEADLINE_SECONDS) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)
