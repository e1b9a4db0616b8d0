"""`tamga serve` as a supervisor of real processes: killed, reloaded, stopped in mid-request."""

import io
import json
import os
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import urllib3
from cryptography import x509
from rich.console import Console

from softhsm_config.modules import opensc_module
from softhsm_config.virtual_card.reader import VirtualReader
from tests.support.home_database import PostgresHome
from tests.support.installation import Installation, Serving, make_installation, serving
from tests.support.processes import (
    assert_none_left,
    children,
    numbered_processes,
    standing_still,
)
from webapi.cli.demo.login_scenes import sign_in
from webapi.cli.demo.narrator import Narrator
from webapi.cli.demo.stage import Stage
from webapi.cli.home import Home, Ports
from webapi.config import load_settings
from webapi.storage.engine import opened_engine
from webapi.storage.realm import Realm
from webapi.storage.status_lists import SqlListStore

ROLES = ("web", "worker", "ocsp")
TOKEN_MODULE = re.compile(r"softhsm|opensc|p11-kit|pkcs11[^/]*\.so$")
BINDING = re.compile(r"/site-packages/pkcs11/_pkcs11\.[^/]*\.so$")
"""The Python binding: it loads modules, and is none."""


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)]
)
def home(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    made = make_installation(tmp_path_factory.mktemp("serving") / "home")
    if request.param == "sqlite":
        yield made
        return
    database = PostgresHome(request.getfixturevalue("durable_postgresql_server"))
    database.attach(Home(made.directory))
    yield made
    database.remove()


@pytest.fixture(scope="module")
def shared(home: Installation) -> Iterator[Serving]:
    """One service for the tests that leave it running."""
    with serving(home) as running:
        yield running


@pytest.fixture
def running(home: Installation, shared: Serving) -> Serving:
    shared.await_fact(home.is_ready)
    # Who was killed just now may not have been missed yet.
    shared.await_fact(lambda: all(home.leader(role) for role in ROLES))
    shared.await_fact(shared.has_come_up)
    shared.await_fact(shared.has_active_worker)
    shared.forget()
    return shared


def token_modules(process: int) -> set[str]:
    """The PKCS#11 modules that are mapped into a process."""
    lines = Path(f"/proc/{process}/maps").read_text().splitlines()
    paths = {line.split(maxsplit=5)[5] for line in lines if len(line.split(maxsplit=5)) == 6}
    return {path for path in paths if TOKEN_MODULE.search(path) and not BINDING.search(path)}


@contextmanager
def half_sent_request(home: Installation) -> Iterator[socket.socket]:
    """A request that is being read, and whose body has come in half."""
    with (
        closing(socket.create_connection(("127.0.0.1", home.ports[0]), timeout=60)) as plain,
        home.tls.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        head = b"POST /auth/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n"
        # Told to go on (RFC 9110 section 10.1.1), it is known that somebody waits for the body.
        head += b"Expect: 100-continue\r\n"
        connection.sendall(head + b"Content-Type: application/json\r\n\r\n")
        assert status_of_answer(connection) == 100
        connection.sendall(b"0123456789")
        yield connection


def status_of_answer(connection: socket.socket) -> int:
    """The status of the next answer; the rest of it is read as well, up to its body."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        received = connection.recv(4096)
        assert received, "the connection was closed without an answer"
        answer += received
    return int(answer.split()[1])


def status_of_the_rest(connection: socket.socket) -> int:
    """Send the other half; the status of the answer."""
    connection.sendall(b"0123456789")
    return status_of_answer(connection)


@dataclass(frozen=True)
class Asked:
    """A request on a connection of its own, and whether it was answered."""

    began: datetime
    ended: datetime
    answered: bool


@contextmanager
def constant_requests(home: Installation) -> Iterator[list[Asked]]:
    """Somebody who asks all the time, one request after the other; what came of each."""
    asked: list[Asked] = []
    stopping = threading.Event()

    def ask() -> None:
        while not stopping.is_set():
            began = datetime.now(tz=UTC)
            try:
                # Patient: that the machine is slow is no refusal.
                answered = home.get("/health/live", seconds=60)[0] == 200
            except urllib3.exceptions.HTTPError:
                answered = False
            asked.append(Asked(began, datetime.now(tz=UTC), answered))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield asked
    finally:
        stopping.set()
        thread.join()


def roles_of(entries: list[dict[str, Any]]) -> set[str]:
    return {entry["role"] for entry in entries}


def moment(entries: list[dict[str, Any]], role: str) -> datetime:
    """When something was logged about a role, which is once."""
    (entry,) = [entry for entry in entries if entry["role"] == role]
    return datetime.fromisoformat(entry["timestamp"])


def exit_codes(running: Serving) -> dict[str, int]:
    """The exit status of each role's process that was told to stop."""
    return {entry["role"]: entry["exit_code"] for entry in running.named("role_stopped")}


def set_workers(home: Installation, count: int) -> None:
    config = home.directory / "tamga.toml"
    config.write_text(re.sub(r"workers = \d+", f"workers = {count}", config.read_text()))


def break_the_database(directory: Path) -> str:
    """Leave no tables where the settings say that they are; returns which command mends that."""
    config = directory / "tamga.toml"
    if "postgresql" in config.read_text():
        config.write_text(re.sub(r"(@/)\w+", r"\1postgres", config.read_text()))
        return "tamga db roles"
    shutil.rmtree(directory / "database")
    return "tamga db upgrade"


def test_what_cannot_start_ends_it_with_the_reason(home: Installation, tmp_path: Path) -> None:
    broken = Installation(tmp_path / "home", home.ports)
    shutil.copytree(home.directory, broken.directory)
    remedy = break_the_database(broken.directory)
    done = broken.run("serve", "--role", "worker")
    assert done.returncode == 1
    assert "worker ended with 1 and never came up, 3 times in a row" in done.stderr
    assert remedy in done.stderr
    *told, last = done.stderr.splitlines()
    assert {json.loads(line)["event"] for line in told} >= {"uncaught_error", "role_ended"}
    assert last.startswith("Error: worker ended")
    assert_none_left(str(broken.directory))


def test_told_to_stop_it_answers_what_it_has_and_leaves_nothing(home: Installation) -> None:
    with serving(home) as running, half_sent_request(home) as connection:
        running.process.send_signal(signal.SIGTERM)
        time.sleep(1.0)
        assert status_of_the_rest(connection) == 400
        assert running.process.wait(60) == 0
        # Nobody had to be ended by force.
        assert exit_codes(running) == dict.fromkeys(ROLES, 0)
        first, *lines = running.log.read_text().splitlines()
        assert first.startswith("Serving ")
        assert all(json.loads(line)["event"] for line in lines)
        assert_none_left(str(home.directory), seconds=0)


@pytest.mark.long
def test_a_request_that_never_ends_does_not_stop_the_stop(home: Installation) -> None:
    with serving(home) as running, half_sent_request(home):
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(60) == 0
        # granian ends the worker that waits, and the supervisor nobody by force.
        assert exit_codes(running) == dict.fromkeys(ROLES, 0)
        assert_none_left(str(home.directory), seconds=0)


def test_none_outlives_a_killed_supervisor(home: Installation) -> None:
    with serving(home) as running:
        assert len(numbered_processes(str(home.directory))) >= 6
        running.process.kill()
        running.process.wait()
        assert_none_left(str(home.directory), seconds=30)


def test_no_token_module_is_loaded_before_a_fork(home: Installation, running: Serving) -> None:
    leaders = {role: home.leader(role) for role in ROLES}
    web, worker, ocsp = (leaders[role] or 0 for role in ROLES)
    assert token_modules(running.process.pid) == set()
    assert token_modules(web) == token_modules(ocsp) == set()
    assert len(children(web)) == 2
    assert [token_modules(number) for number in children(web)] == [set(), set()]
    (answering,) = children(ocsp)
    for signing in (worker, answering):
        # Loaded for the first signature, which may be due a while after the process is up.
        running.await_fact(lambda: any("softhsm" in path for path in token_modules(signing)))  # noqa: B023 - called at once


def test_what_is_killed_is_started_again(home: Installation, running: Serving) -> None:
    before = {role: home.leader(role) for role in ROLES}
    for number in before.values():
        assert number is not None
        os.kill(number, signal.SIGKILL)
    running.await_fact(lambda: len(running.named("role_ended")) == 3)
    ends = running.named("role_ended")
    assert {(entry["role"], entry["exit_code"]) for entry in ends} == {(role, -9) for role in ROLES}
    running.await_fact(lambda: all(home.leader(role) for role in ROLES))
    running.await_fact(home.is_ready)
    assert not {home.leader(role) for role in ROLES} & set(before.values())


def test_a_wrong_configuration_is_refused_and_everything_goes_on(
    home: Installation, running: Serving
) -> None:
    config = home.directory / "tamga.toml"
    good = config.read_text()
    before = {role: home.leader(role) for role in ROLES}
    try:
        config.write_text(good.replace("listen_port", "listen_prot"))
        running.process.send_signal(signal.SIGHUP)
        running.await_fact(lambda: running.named("reload_refused"))
    finally:
        config.write_text(good)
    (refused,) = running.named("reload_refused")
    assert any("service.listen_prot" in text for text in refused["findings"])
    assert {role: home.leader(role) for role in ROLES} == before
    # Either web process may still repeat what it said while it came up.
    running.await_fact(home.is_ready)
    assert {role: home.leader(role) for role in ROLES} == before


def test_a_reload_replaces_all_while_the_site_answers(home: Installation, running: Serving) -> None:
    set_workers(home, 2)
    before = {role: home.leader(role) for role in ROLES}
    old_listeners = len(children(before["web"] or 0))
    with constant_requests(home) as asked:
        with half_sent_request(home) as connection:
            set_workers(home, 1)
            running.process.send_signal(signal.SIGHUP)
            # Not until all are replaced: the old web role, which was told to go, waits for the rest
            # of this request, and for some seconds alone.
            running.await_fact(lambda: "web" in roles_of(running.named("role_replaced")))
            replaced = moment(running.named("role_replaced"), "web")
            running.await_fact(lambda: answered_since(asked, replaced))
            assert status_of_the_rest(connection) == 400
        running.await_fact(lambda: len(running.named("role_replaced")) == 3)
        running.await_fact(lambda: len(running.named("role_stopped")) == 3)
        stopped = moment(running.named("role_stopped"), "web")
        running.await_fact(lambda: answered_since(asked, stopped))
    set_workers(home, 2)
    assert {entry["exit_code"] for entry in running.named("role_stopped")} == {0}
    web = home.leader("web")
    assert web not in before.values()
    assert len(children(web or 0)) == 1
    running.await_fact(lambda: running.named("worker_active"))
    assert len(running.named("worker_active")) == 1
    running.await_fact(home.is_ready)
    failed = [one for one in asked if not one.answered]
    # Only while the old processes go is anybody turned away: granian closes what it accepted and
    # has read nothing from. Of each process that is one connection while it stops to accept, and
    # one that came before its socket was closed, as this client has one connection at a time.
    assert [one for one in failed if one.ended < replaced or one.began > stopped] == []
    assert len(failed) <= 2 * old_listeners


def has_lists(home: Installation) -> bool:
    """Whether the worker has fetched what the development CA publishes."""
    settings = load_settings(home.directory / "tamga.toml", {})
    (issuer,) = settings.trust.issuers
    with opened_engine(settings.database.login.url, Realm.LOGIN) as engine:
        return all(SqlListStore(engine).current(url) for url in issuer.crl_urls)


@contextmanager
def stopped_responder(home: Installation, running: Serving) -> Iterator[None]:
    """Nobody listens where the responder was; the supervisor sleeps, or it would start it again."""
    leader = home.leader("ocsp")
    assert leader is not None
    with standing_still(running.process):
        os.killpg(leader, signal.SIGKILL)
        running.await_fact(lambda: not home.responder_listens())
        yield


def test_while_the_responder_is_stopped_a_login_passes_by_the_published_lists(
    home: Installation, running: Serving
) -> None:
    paths = Home(home.directory)
    running.await_fact(lambda: has_lists(home))
    signer = x509.load_der_x509_certificate((paths.pki / "crl-citizen-ca.cer").read_bytes())
    narrator = Narrator(Console(file=io.StringIO()))
    with VirtualReader(paths.card) as reader:
        stage = Stage(narrator, paths, Ports(*home.ports), opensc_module(), reader.environment)
        # So that it is the responder's absence, and nothing else, that the lists stand in for.
        assert sign_in(stage).ocsp["responder"] != signer.subject.rfc4514_string()
        with stopped_responder(home, running):
            assert sign_in(stage).ocsp["responder"] == signer.subject.rfc4514_string()


def answered_since(asked: list[Asked], at: datetime) -> bool:
    return any(one.answered and one.began >= at for one in asked)
