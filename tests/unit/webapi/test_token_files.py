"""What a worker asks of its tokens' settings before it replaces another worker."""

import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from pkcs11_bridge.config import MAX_SESSIONS
from pkcs11_bridge.errors import (
    Misconfigured,
    ModuleUnusable,
    PinSourceUnreadable,
    UnsafePinSource,
    UriInvalid,
)
from signer.payload import Purpose
from tests.support.settings import DEVELOPMENT_SETTINGS
from webapi import clock, role_servers, worker
from webapi.config import CONFIG_VARIABLE, ConfigurationWrong, load_settings
from webapi.doctor.zone import look_at_zone
from webapi.operations.checks import CheckState
from webapi.operations.metrics import Metrics
from webapi.settings_model import Settings
from webapi.storage.engine import opened_engine
from webapi.storage.migration import upgrade
from webapi.storage.realm import Realm
from webapi.token_keys import WORKER_PURPOSES, TokenKeys, ZoneNotConfigured
from webapi.wiring import Wiring

ZONES = ("login", "receipts", "audit")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration whose tokens could be tried; the module is no module, and is not loaded."""
    monkeypatch.setenv("SOFTHSM2_CONF", "restored at the end")
    text = DEVELOPMENT_SETTINGS.replace("/usr/lib/softhsm/libsofthsm2.so", "module.so")
    start, end = text.index("[tokens.login]"), text.index("[trust]")
    sections = [text[start:end].replace("login", zone) for zone in ZONES]
    (tmp_path / "tamga.toml").write_text(text[:start] + "".join(sections) + text[end:])
    (tmp_path / "module.so").touch()
    (tmp_path / "pins").mkdir()
    for zone in ZONES:
        (tmp_path / "pins" / zone).write_text("123456\n")
        (tmp_path / "pins" / zone).chmod(0o600)
    return tmp_path


def settings_in(folder: Path, old: str = "", new: str = "") -> Settings:
    path = folder / "tamga.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1) if old else text)
    return load_settings(path, {})


def check(settings: Settings) -> None:
    TokenKeys(settings, Metrics(CollectorRegistry())).check_files(WORKER_PURPOSES)


def test_more_sessions_than_the_token_code_allows_are_refused_by_the_settings(
    folder: Path,
) -> None:
    most = f"[tokens.login]\nsessions = {MAX_SESSIONS}"
    check(settings_in(folder, "[tokens.login]", most))
    with pytest.raises(ConfigurationWrong, match=r"tokens\.login\.sessions"):
        settings_in(folder, most, f"[tokens.login]\nsessions = {MAX_SESSIONS + 1}")


@pytest.mark.parametrize("zone", ZONES)
def test_a_pin_file_that_is_not_there_is_refused(folder: Path, zone: str) -> None:
    (folder / "pins" / zone).unlink()
    with pytest.raises(PinSourceUnreadable, match=zone):
        check(settings_in(folder))


def test_a_pin_file_that_others_may_read_is_refused(folder: Path) -> None:
    (folder / "pins" / "audit").chmod(0o640)
    with pytest.raises(UnsafePinSource, match="audit"):
        check(settings_in(folder))


def test_a_module_that_is_not_there_is_refused(folder: Path) -> None:
    (folder / "module.so").unlink()
    with pytest.raises(ModuleUnusable, match=r"tokens\.login.*module\.so"):
        check(settings_in(folder))


def test_a_zone_that_is_not_there_is_refused(folder: Path) -> None:
    with pytest.raises(ZoneNotConfigured, match=r"tokens\.audit"):
        check(settings_in(folder, "[tokens.audit]", "[tokens.pki]"))


def test_what_could_be_tried_is_taken_and_no_module_loaded(folder: Path) -> None:
    check(settings_in(folder))


def test_a_worker_with_such_settings_never_says_that_it_is_up(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports: list[str] = []
    monkeypatch.setattr(worker, "report_up", lambda: reports.append("up"))
    monkeypatch.setattr(worker, "configure_logs", lambda: None)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    monkeypatch.setattr(Wiring, "worker_lease", lambda _: pytest.fail("asked for the lease"))
    (folder / "pins" / "receipts").unlink()
    with pytest.raises(PinSourceUnreadable, match="receipts"):
        worker.run(settings_in(folder))
    assert not reports


def test_a_worker_opens_its_logs_anew_when_another_key_takes_over(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    takes_over = datetime(2026, 12, 1, tzinfo=UTC)
    now = [takes_over - timedelta(seconds=2)]
    handlers: dict[int, Callable[[int, None], None]] = {}
    monkeypatch.setattr(worker, "report_up", lambda: None)
    monkeypatch.setattr(worker, "configure_logs", lambda: None)
    monkeypatch.setattr("signal.signal", handlers.__setitem__)
    monkeypatch.setattr(clock, "now", lambda: now[0])
    monkeypatch.setattr(Wiring, "watch_keys", lambda *_: None)
    shifts: list[list[str]] = []

    def jobs(wiring: Wiring) -> Iterator[tuple[str, Callable[[], bool], float]]:
        of_shift = list[str]()
        shifts.append(of_shift)

        def tick() -> bool:
            of_shift.append(wiring.keys.rotation(Purpose.RECEIPT_LOG).current(now[0]).key)
            now[0] += timedelta(seconds=1)
            if len(shifts) == 2:
                handlers[signal.SIGTERM](signal.SIGTERM, None)
            return True

        yield "tick", tick, 0.0

    monkeypatch.setattr(Wiring, "worker_jobs", jobs)
    old, new = "pkcs11:object=receipt-log", "pkcs11:object=receipt-log-b"
    (folder / "tamga.toml").write_text(
        (folder / "tamga.toml").read_text()
        + f'[[keys.receipt-log]]\nkey = "{old}"\nstate = "current"\n'
        + "accepted_until = 2026-12-02T00:00:00Z\n"
        + f'[[keys.receipt-log]]\nkey = "{new}"\nstate = "next"\n'
        + "takes_over_at = 2026-12-01T00:00:00Z\n"
    )
    settings = settings_in(folder)
    with opened_engine(settings.database.ballots.url, Realm.BALLOTS) as engine:
        upgrade(engine, Realm.BALLOTS)
    with capture_logs() as logs:
        worker.run(settings)
    assert shifts == [[old, old], [new]]
    told = ["worker_started", "worker_active", "worker_active", "worker_stopped"]
    assert [entry["event"] for entry in logs] == told


def test_what_a_shift_closed_is_made_anew_in_the_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[object] = []

    class Sources:
        def __init__(self, *_: object, **__: object) -> None:
            made.append(self)

        def close(self) -> None:
            made.append("closed")

    monkeypatch.setattr("webapi.wiring.StatusSources", Sources)
    monkeypatch.setattr(Wiring, "engine", lambda *_: None)
    wiring = Wiring(settings_in(folder))
    first = wiring._statuses
    wiring.close()
    second = wiring._statuses
    wiring.close()
    assert made == [first, "closed", second, "closed"]
    assert first is not second


def test_what_cannot_be_closed_keeps_nothing_else_open(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, closed = settings_in(folder), []
    with opened_engine(settings.database.login.url, Realm.LOGIN) as engine:
        upgrade(engine, Realm.LOGIN)
    wiring = Wiring(settings)
    engine = wiring.engine(Realm.LOGIN)
    pool = engine.pool

    def fail() -> None:
        closed.append("ranges")
        raise OSError("cannot be closed")

    wiring._closing.callback(fail)
    monkeypatch.setattr(TokenKeys, "close", lambda _: closed.append("keys"))
    with pytest.raises(OSError, match="cannot be closed"):
        wiring.close()
    assert closed == ["ranges", "keys"]
    assert engine.pool is not pool  # disposed of


@pytest.mark.parametrize("error", [Misconfigured, UriInvalid])
def test_the_doctor_says_what_to_correct(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: type[Misconfigured]
) -> None:
    def refuse(*_: object) -> None:
        raise error("no such limit")

    monkeypatch.setattr(TokenKeys, "token_configs", refuse)
    (found,) = look_at_zone(Wiring(settings_in(folder)), "login")
    assert (found.name, found.state) == ("pin-file.login", CheckState.FAILED)
    assert "tokens.login" in (found.remedy or "")


@pytest.mark.parametrize(
    ("role", "kept"),
    [
        ("web", set()),
        ("metrics", set()),
        ("ocsp", {"PKI_PIN"}),
        ("worker", {"LOGIN_PIN", "RECEIPTS_PIN", "AUDIT_PIN"}),
    ],
)
def test_a_process_keeps_no_pin_of_a_zone_whose_keys_it_does_not_use(
    folder: Path, monkeypatch: pytest.MonkeyPatch, role: str, kept: set[str]
) -> None:
    """Whatever it starts would inherit it."""
    path = folder / "tamga.toml"
    text = path.read_text()
    section = text[text.index("[tokens.audit]") : text.index("[trust]")]
    text = text.replace(section, section + section.replace("audit", "pki"))
    pins = set()
    for zone in (*ZONES, "pki"):
        text = text.replace(f'pin_file = "pins/{zone}"', f'pin_source = "env:{zone.upper()}_PIN"')
        monkeypatch.setenv(f"{zone.upper()}_PIN", "123456")
        pins.add(f"{zone.upper()}_PIN")
    path.write_text(text)
    monkeypatch.setenv(CONFIG_VARIABLE, str(path))
    for step in ("configure_logs", "log_uncaught", "protect_memory"):
        monkeypatch.setattr(role_servers, step, lambda: None)
    seen: list[set[str]] = []
    monkeypatch.setitem(
        cast("dict[str, object]", role_servers.ROLES), role, lambda _: seen.append({*os.environ})
    )
    role_servers.main([role])
    assert seen[0] & pins == kept
