"""What the doctor says of files, folders, ports and readers; time and disk are arguments."""

import os
import socket
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from pkcs11_bridge import readers as bridge_readers
from pkcs11_bridge.errors import DeviceUnavailable, ReaderServiceDown
from pkcs11_bridge.readers import Reader
from tests.support.certificates import NOW, development_like_pki
from tests.support.settings import DEVELOPMENT_SETTINGS
from webapi.config import load_settings
from webapi.doctor import places
from webapi.doctor.audit import check_audit
from webapi.doctor.certificates import (
    WARN_BELOW_FOR_DELEGATE,
    CertificatePlace,
    check_authority_status,
    check_certificates,
    check_clock,
    validity,
)
from webapi.doctor.places import check_disk, check_folder, check_https_port
from webapi.doctor.readers import check_readers
from webapi.operations.checks import CheckResult, CheckState
from webapi.settings_model import ServiceSettings
from webapi.storage.errors import DatabaseUnavailable

PKI = development_like_pki()
LEAF_END = PKI.leaf_spec.not_after
DELEGATE_END = PKI.delegate_spec.not_after
MIB = 1024**2


def only(results: Iterator[CheckResult]) -> CheckResult:
    (found,) = results
    return found


@pytest.mark.parametrize(
    ("at", "state", "seen"),
    [
        (PKI.leaf_spec.not_before - timedelta(seconds=1), CheckState.FAILED, "valid only from"),
        (LEAF_END + timedelta(seconds=1), CheckState.FAILED, "expired on"),
        (LEAF_END - timedelta(days=29), CheckState.WARNING, "29 days only"),
        (LEAF_END - timedelta(hours=30), CheckState.WARNING, "30 hours only"),
        (LEAF_END - timedelta(days=31), CheckState.OK, "31 days"),
    ],
)
def test_a_certificate_in_time_soon_over_or_out_of_time(
    at: datetime, state: CheckState, seen: str
) -> None:
    place = CertificatePlace("certificate.tls", Path("tls.crt"))
    found = validity(place, [PKI.root.certificate, PKI.leaf.certificate], at)
    assert (found.state, seen in found.seen) == (state, True)


@pytest.mark.parametrize(
    ("left", "state"), [(11, CheckState.WARNING), (13, CheckState.OK), (-1, CheckState.FAILED)]
)
def test_a_delegate_is_warned_of_half_a_day_before(left: int, state: CheckState) -> None:
    place = CertificatePlace("delegate", Path("delegate.cer"), WARN_BELOW_FOR_DELEGATE)
    found = validity(place, [PKI.delegate.certificate], DELEGATE_END - timedelta(hours=left))
    assert found.state is state


def test_authorities_that_nobody_looks_at_are_told(tmp_path: Path) -> None:
    file = tmp_path / "tamga.toml"
    file.write_text(DEVELOPMENT_SETTINGS)
    unchecked = only(check_authority_status(load_settings(file, {})))
    assert (unchecked.name, unchecked.state) == (
        "authority-status.citizen-ca",
        CheckState.WARNING,
    )
    assert "nobody looks whether a CA certificate above citizen-ca was revoked" in unchecked.seen
    assert "these CAs publish no lists" in unchecked.seen
    assert "trust.authority_crl_urls" in unchecked.remedy
    reason = 'authorities_publish_no_status_because = "these CAs publish no lists"\n'
    lists = '[trust]\nauthority_crl_urls = ["http://ca.example/root.crl"]'
    file.write_text(DEVELOPMENT_SETTINGS.replace(reason, "").replace("[trust]", lists, 1))
    checked = only(check_authority_status(load_settings(file, {})))
    assert (checked.state, "by 1 list" in checked.seen) == (CheckState.OK, True)


def test_certificate_files_that_hold_none(tmp_path: Path) -> None:
    absent, broken = tmp_path / "absent.cer", tmp_path / "broken.pem"
    pem = PKI.leaf.certificate.public_bytes(Encoding.PEM)
    broken.write_bytes(pem + pem.replace(b"MII", b"AAA"))
    good = tmp_path / "good.cer"
    good.write_bytes(PKI.leaf.der)
    files = [CertificatePlace(path.stem, path) for path in (absent, broken, good)]
    found = list(check_certificates(files, NOW))
    assert [result.state for result in found] == ["failed", "failed", "ok"]
    assert "broken certificate" in found[1].seen


def test_the_clock(tmp_path: Path) -> None:
    path = tmp_path / "ca.cer"
    path.write_bytes(PKI.leaf.der)
    files = [CertificatePlace("ca", path), CertificatePlace("absent", tmp_path / "absent")]
    early = only(check_clock(files, PKI.leaf_spec.not_before - timedelta(days=1)))
    assert (early.state, "before a certificate" in early.seen) == (CheckState.FAILED, True)
    old = only(check_clock([], NOW.replace(year=1970)))
    assert (old.state, "1970-11-15" in old.seen) == (CheckState.FAILED, True)
    assert only(check_clock(files, NOW)).state is CheckState.OK


@pytest.mark.parametrize(
    ("free", "state"),
    [(99, CheckState.FAILED), (101, CheckState.WARNING), (1025, CheckState.OK)],
)
def test_disk_space_is_asked_of_the_nearest_folder(
    tmp_path: Path, free: int, state: CheckState
) -> None:
    asked = []

    def answer(path: Path) -> int:
        asked.append(path)
        return free * MIB

    found = only(check_disk("disk.logs", tmp_path / "a" / "b", answer))
    assert (found.state, asked) == (state, [tmp_path])
    assert f"{free:,} MiB" in found.seen


def test_the_real_disk_is_asked(tmp_path: Path) -> None:
    assert places.free_bytes(tmp_path) > 0


def test_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    assert "no folder" in only(check_folder("logs", file / "logs")).seen
    assert only(check_folder("logs", tmp_path / "logs")).state is CheckState.OK
    assert "can be written" in only(check_folder("logs", tmp_path)).seen
    # Root may write everywhere, so the answer of the operating system is given here.
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)
    assert "cannot be written" in only(check_folder("logs", tmp_path)).seen


def service(directory: Path, host: str, port: int) -> ServiceSettings:
    certificate = directory / "tls.crt"
    certificate.write_bytes(PKI.leaf.der)
    return ServiceSettings(
        mode="development",
        origin="https://localhost",
        listen_host=host,
        listen_port=port,
        tls_certificate=certificate,
        tls_key=directory / "tls.key",
    )


def test_a_port_that_another_program_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_PROBE_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        found = only(check_https_port(service(tmp_path, "127.0.0.1", port)))
    assert (found.state, "another program" in found.seen) == (CheckState.FAILED, True)
    assert only(check_https_port(service(tmp_path, "127.0.0.1", port))).state is CheckState.OK


def test_an_address_that_is_not_this_machines(tmp_path: Path) -> None:
    found = only(check_https_port(service(tmp_path, "192.0.2.1", 8443)))
    assert (found.state, "another" in found.seen) == (CheckState.FAILED, False)


EMPTY, FULL = Reader("Reader 1", None), Reader("Reader 2", b"\x3b")
MUTE = Reader("Reader 3", None, mute=True)


@pytest.mark.parametrize(
    ("there", "name", "seen"),
    [
        (ReaderServiceDown("down"), "pcsc-service", "down"),
        (DeviceUnavailable("PC/SC answered 1"), "pcsc-service", "PC/SC answered 1"),
        ((), "readers", "no reader"),
        ((EMPTY,), "card", "no reader holds"),
        ((EMPTY, MUTE), "card", "does not answer"),
    ],
)
def test_missing_readers_and_cards_are_failures_only_where_required(
    monkeypatch: pytest.MonkeyPatch, there: Exception | tuple[Reader, ...], name: str, seen: str
) -> None:
    def answer() -> tuple[Reader, ...]:
        if isinstance(there, Exception):
            raise there
        return there

    monkeypatch.setattr(bridge_readers, "list_readers", answer)
    for required, state in ((True, CheckState.FAILED), (False, CheckState.WARNING)):
        last = list(check_readers(required=required))[-1]
        assert (last.name, last.state, seen in last.seen) == (name, state, True)


def test_a_reader_with_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge_readers, "list_readers", lambda: (EMPTY, FULL))
    assert {result.state for result in check_readers(required=True)} == {CheckState.OK}


def test_without_the_reader_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pkcs11_bridge.readers", None)
    found = only(check_readers(required=False))
    assert (found.state, "pyscard" in found.seen) == (CheckState.WARNING, True)


@pytest.mark.parametrize(
    ("waiting", "state"),
    [(0, "ok"), (1_000, "ok"), (1_001, "warning"), (200_000, "failed")],
)
def test_unsealed_audit_entries(waiting: int, state: str) -> None:
    found = only(check_audit(lambda: {"login": 0, "ballots": waiting, "pki": 1}))
    assert (found.name, found.state) == ("audit", state)
    assert f"ballots: {waiting} unsealed" in found.seen


def test_unsealed_audit_entries_of_a_database_that_is_away() -> None:
    def away() -> Mapping[str, int]:
        raise DatabaseUnavailable("away")

    assert only(check_audit(away)).state == "skipped"
