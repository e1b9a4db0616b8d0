"""The demonstration from curtain to curtain: scenes in order, summary, nothing left running."""

import json
import shlex
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Protocol

import urllib3
from rich.console import Console

from webapi.cli.demo import login_scenes, receipt_scenes
from webapi.cli.demo.client import Client
from webapi.cli.demo.login_scenes import LoginFacts
from webapi.cli.demo.narrator import DemoFailed, Narrator
from webapi.cli.demo.receipt_scenes import ReceiptFacts, VotersFiles
from webapi.cli.demo.stage import Stage, running_service
from webapi.cli.home import Home, Ports

READY_SECONDS = 90.0
_POLL_SECONDS = 0.1
_DRAW_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Prepared:
    """What the preparation made or found.

    Attributes:
        card_serial: serial number of the card's authentication certificate, hexadecimal.
        certificates: how many certificates were issued so far.
    """

    card_serial: str
    certificates: int


class Reader(Protocol):
    """A reader with a card in it, while it runs."""

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables that lead PC/SC programs to it."""


@dataclass(frozen=True, slots=True)
class Scenery:
    """What the development tools give to the demonstration.

    Attributes:
        prepare: makes the home, idempotent.
        reader: starts the virtual reader with the citizen's card.
        card_module: the card's PKCS#11 module.
    """

    prepare: Callable[[], Prepared]
    reader: Callable[[], AbstractContextManager[Reader]]
    card_module: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the summary tells."""

    login: LoginFacts
    held: VotersFiles
    receipt: ReceiptFacts


def perform(home: Home, ports: Ports, scenery: Scenery) -> bool:
    """Play every scene; tell what failed and what to do; whether all went well."""
    console = Console(soft_wrap=True)
    narrator = Narrator(console)
    started = time.monotonic()
    # Told to end, this program ends like one that was interrupted: everything is put away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console.print("[bold]Tamga[/bold]: a login by ID card and a ballot receipt, for real")
    try:
        _require_free(ports)
        outcome = _play(narrator, home, ports, scenery)
    except Exception as error:  # noqa: BLE001 - whatever it is: say it in words, leave nothing running
        _tell_failure(console, narrator, error)
        return False
    except KeyboardInterrupt:
        console.print("\nStopped; nothing is left running.")
        return False
    summary = write_summary(home, narrator, scenery.card_module, outcome)
    console.print(
        f"\n[green]Everything held.[/green] {time.monotonic() - started:.1f} s; "
        f"summary in {summary}",
        highlight=False,
    )
    files = {
        "--receipt": outcome.held.tlog_proof,
        "--ballot": outcome.held.ballot,
        "--policy": outcome.held.policy,
    }
    options = " ".join(f"{name} {shlex.quote(str(_shown(path)))}" for name, path in files.items())
    console.print(
        f"Check the receipt yourself: .venv/bin/tamga receipt verify {options}", highlight=False
    )
    return True


def _play(narrator: Narrator, home: Home, ports: Ports, scenery: Scenery) -> Outcome:
    with narrator.step("HSM and PKI", "software HSM, keys that cannot leave it, development PKI"):
        prepared = scenery.prepare()
        narrator.fact("home", _shown(home.directory))
        narrator.fact("certificates", f"{prepared.certificates} issued")
    with ExitStack() as running:
        with narrator.step("card", "a PIV card in a virtual reader, seen by PC/SC and OpenSC"):
            reader = running.enter_context(scenery.reader())
        stage = Stage(narrator, home, ports, scenery.card_module, reader.environment)
        return _play_service(stage, prepared)


def _play_service(stage: Stage, prepared: Prepared) -> Outcome:
    narrator = stage.narrator
    with running_service(stage) as log:
        with narrator.step("service", "https with worker processes, worker, OCSP responder"):
            _await_ready(stage, log)
            narrator.fact("site", stage.ports.origin)
            narrator.fact("responder", stage.ports.status_base)
        with narrator.step("login", "challenge signed by the HSM, answered by the card"):
            login = login_scenes.sign_in(stage)
        with narrator.step("wrong PIN", "the card refuses and tells how many tries are left"):
            login_scenes.wrong_pin(stage)
        with narrator.step("fake service", "a challenge without the service's proof"):
            login_scenes.fake_service(stage)
        with narrator.step("suspended card", "the same card while OCSP says revoked (on hold)"):
            login_scenes.suspended_card(stage, prepared.card_serial)
        with narrator.step("ballot", "registered by the election system; a receipt from the log"):
            held = receipt_scenes.register_ballot(stage)
        with narrator.step("offline check", "a process with receipt, ballot and policy alone"):
            receipt = receipt_scenes.verify_offline(stage, held)
    return Outcome(login, held, receipt)


def write_summary(home: Home, narrator: Narrator, module: Path, outcome: Outcome) -> Path:
    """`summary.json` as the design has it; paths are relative to the present folder."""
    path = home.directory / "summary.json"
    summary = {
        "login": {**asdict(outcome.login), "module": str(module)},
        "receipt": {
            "tlog_proof": str(_shown(outcome.held.tlog_proof)),
            "policy": str(_shown(outcome.held.policy)),
            "ballot": str(_shown(outcome.held.ballot)),
            **asdict(outcome.receipt),
        },
        "steps": [asdict(step) for step in narrator.steps],
    }
    path.write_text(json.dumps(summary, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return _shown(path)


def _shown(path: Path) -> Path:
    """The path as seen from here, if it is below here."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _require_free(ports: Ports) -> None:
    for name, port in (("--https-port", ports.https), ("--ocsp-port", ports.ocsp)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise DemoFailed(
                    f"port {port} is in use by another program",
                    f"Stop that program, or give another port: tamga demo {name} N",
                ) from error


def _await_ready(stage: Stage, log: Path) -> None:
    """Wait until the site is ready and the first challenges are in stock."""
    browser = stage.browser()
    deadline = time.monotonic() + READY_SECONDS
    while True:
        # One address may draw few challenges: none is asked for before somebody signs them.
        is_signing = "worker_active" in log.read_text(encoding="utf-8", errors="replace")
        if is_signing and _has_challenge(browser) and _listens(stage.ports.ocsp):
            return
        if time.monotonic() > deadline:
            tail = log.read_text(encoding="utf-8", errors="replace")[-1500:]
            raise DemoFailed(f"the service was not ready in time; it said:\n{tail}", f"See {log}.")
        time.sleep(_DRAW_SECONDS if is_signing else _POLL_SECONDS)


def _has_challenge(browser: Client) -> bool:
    try:
        return browser.post_json("/auth/challenge", {}).status == HTTPStatus.OK
    except urllib3.exceptions.HTTPError:
        return False


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _tell_failure(console: Console, narrator: Narrator, error: Exception) -> None:
    failed = next((step.name for step in narrator.steps if not step.ok), "start")
    if isinstance(error, DemoFailed):
        next_step = error.next_step
    else:
        next_step = "Do what the reason says; else `make clean demo` begins from nothing."
    console.print(f"\n[red]Failed at: {failed}[/red]", highlight=False)
    console.print(f"  reason     {type(error).__name__}: {error}", markup=False, highlight=False)
    console.print(f"  next step  {next_step}", markup=False, highlight=False)
    console.print("  Nothing is left running.")
