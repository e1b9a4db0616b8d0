"""A development home and the `tamga` command that uses it, as real processes."""

import json
import os
import re
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import urllib3
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.databases import Database
from tests.support.processes import (
    assert_none_left,
    free_ports,
    leads_its_group,
    numbered_processes,
)
from webapi.cli.home import Home
from webapi.storage.realm import Realm

READY_SECONDS = 120.0


@dataclass(frozen=True)
class Installation:
    """A development home, and the command that uses it."""

    directory: Path
    ports: list[int]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "TAMGA_CONFIG": str(self.directory / "tamga.toml")}

    @property
    def address(self) -> str:
        return f"https://localhost:{self.ports[0]}"

    @property
    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.directory / "pki" / "root-ca.pem"))

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "webapi.cli", *arguments]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env={**self.environment, **environment},
        )

    def get(self, path: str, *, seconds: float = 30) -> tuple[int, dict[str, object]]:
        with urllib3.PoolManager(ssl_context=self.tls, retries=False, timeout=seconds) as pool:
            answer = pool.request("GET", f"{self.address}{path}")
            return answer.status, answer.json()

    def is_ready(self) -> bool:
        try:
            return self.get("/health/ready")[0] == 200
        except urllib3.exceptions.HTTPError:
            return False

    def responder_listens(self) -> bool:
        """Whether connections to the responder are taken."""
        with socket.socket() as plain:
            return plain.connect_ex(("127.0.0.1", self.ports[1])) == 0

    def leader(self, role: str) -> int | None:
        """The process of a role that the supervisor started; None if there is none, or two."""
        found = [
            number
            for number, line in numbered_processes(str(self.directory))
            if f"webapi.roles {role} " in line and leads_its_group(number)
        ]
        return found[0] if len(found) == 1 else None


def make_installation(directory: Path) -> Installation:
    made = Installation(directory, free_ports(2))
    done = made.run("init", "--https-port", str(made.ports[0]), "--ocsp-port", str(made.ports[1]))
    assert done.returncode == 0, done.stderr
    assert "tamga serve" in done.stdout
    return made


@dataclass
class Serving:
    """A running `tamga serve` and its log."""

    home: Installation
    process: subprocess.Popen[bytes]
    log: Path
    _seen: int = field(default=0, init=False)

    def events(self) -> list[dict[str, Any]]:
        """What stands in the log as JSON since the last `forget`."""
        return self._logged()[self._seen :]

    def forget(self) -> None:
        """Look at what is logged from now on."""
        self._seen = len(self._logged())

    def named(self, event: str) -> list[dict[str, Any]]:
        return [entry for entry in self.events() if entry.get("event") == event]

    def has_come_up(self) -> bool:
        """Whether the last process that the supervisor started of each role has come up."""
        told = {
            entry["role"]: entry["event"]
            for entry in self._logged()
            if entry["event"] in ("role_started", "role_up", "role_ended")
        }
        return set(told.values()) == {"role_up"}

    def has_active_worker(self) -> bool:
        """Whether the last worker that the supervisor started became active since, ever."""
        told = [
            entry["event"]
            for entry in self._logged()
            if entry["event"] == "worker_active"
            or (entry["event"] == "role_started" and entry["role"] == "worker")
        ]
        return told[-1:] == ["worker_active"]

    def _logged(self) -> list[dict[str, Any]]:
        lines = self.log.read_text(errors="replace").splitlines(keepends=True)
        # The last one may be in the midst of being written.
        whole = [line for line in lines if line.startswith("{") and line.endswith("\n")]
        return [json.loads(line) for line in whole]

    def await_fact(self, fact: Callable[[], object], seconds: float = READY_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not fact():
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.1)


@contextmanager
def serving(
    home: Installation, *arguments: str, ready: bool = True, **environment: str
) -> Iterator[Serving]:
    """`tamga serve` while the block runs; nothing of it is left behind."""
    log = home.directory / "serve.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            home.command("serve", *arguments),
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **home.environment, **environment},
        ) as process,
    ):
        running = Serving(home, process, log)
        try:
            if ready:
                # An answer of "not ready" is kept for seconds: asked when it can be ready.
                running.await_fact(lambda: running.named("worker_active"))
                time.sleep(0.5)
                running.await_fact(home.is_ready)
                running.await_fact(running.has_come_up)
            yield running
        finally:
            process.terminate()
            process.wait(60)
            assert_none_left(str(home.directory))


def create_election(home: Installation, election_id: str) -> None:
    """An election that is open now, for an hour."""
    now = datetime.now(tz=UTC).replace(microsecond=0)
    paths = Home(home.directory)
    arguments = {
        "--title": "Trial",
        "--domain": "localhost",
        "--opens-at": (now - timedelta(hours=1)).isoformat(),
        "--closes-at": (now + timedelta(hours=1)).isoformat(),
        "--system-key": str(paths.election_public_key),
    }
    standby = [
        item
        for file in sorted((home.directory / "standby-keys").glob("receipt-*.pem"))
        for item in ("--standby-key", str(file))
    ]
    options = [item for pair in arguments.items() for item in pair]
    done = home.run("election", "create", election_id, *options, *standby)
    assert done.returncode == 0, done.stderr


def election_system_key(home: Installation) -> ec.EllipticCurvePrivateKey:
    """The key with which the election system signs what it sends."""
    key = serialization.load_pem_private_key(Home(home.directory).election_key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def use_databases(config: Path, database: Database) -> None:
    """Let the service of a configuration file keep its data in the databases of one test."""
    text = config.read_text()
    for realm in Realm:
        url = database.engine(realm).url.render_as_string(hide_password=False)
        found = re.search(rf"\[database\.{realm}\]\nurl = ([^\n]*)", text)
        assert found is not None
        text = text[: found.start(1)] + json.dumps(url) + text[found.end(1) :]
    config.write_text(text)
