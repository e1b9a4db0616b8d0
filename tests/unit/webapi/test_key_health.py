"""The keys' health: kept where others read it, asked by nobody's request."""

import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from signer.health import HealthCheck, KeyHealth
from signer.payload import Purpose
from tests.support.certificates import NOW
from tests.support.software_signer import SoftwareBackend
from webapi.key_health import FRESH, HealthFolder, KeyUnhealthy
from webapi.key_watch import HealthWatch

LONG = 30.0


def sick(purpose: Purpose = Purpose.AUDIT) -> KeyHealth:
    return KeyHealth(purpose, NOW, "TokenHung")


@pytest.fixture
def folder(tmp_path: Path) -> HealthFolder:
    return HealthFolder(tmp_path / "latches" / "health")


def test_what_was_kept_is_read(folder: HealthFolder) -> None:
    assert folder.read(Purpose.AUDIT) is None
    well = KeyHealth(Purpose.AUDIT, NOW, "")
    folder.write(sick())
    folder.write(well)
    folder.write(sick(Purpose.RECEIPT_LOG))
    assert folder.read(Purpose.AUDIT) == well
    assert folder.directory.stat().st_mode & 0o077 == 0
    assert {path.stat().st_mode & 0o077 for path in folder.directory.iterdir()} == {0}


def test_only_a_fresh_failure_is_held_against_a_key(folder: HealthFolder) -> None:
    folder.require(Purpose.AUDIT, NOW)  # nobody here has checked it
    folder.write(sick())
    with pytest.raises(KeyUnhealthy, match="TokenHung"):
        folder.require(Purpose.AUDIT, NOW + FRESH - timedelta(seconds=1))
    folder.require(Purpose.AUDIT, NOW + FRESH)
    folder.require(Purpose.RECEIPT_LOG, NOW)
    folder.write(KeyHealth(Purpose.AUDIT, NOW, ""))
    folder.require(Purpose.AUDIT, NOW)


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"checked_at": "x", "failure": ""}'])
def test_a_file_that_makes_no_sense_is_no_health(folder: HealthFolder, content: bytes) -> None:
    folder.write(sick())
    (folder.directory / "audit.health").write_bytes(content)
    with pytest.raises(KeyUnhealthy):
        folder.require(Purpose.AUDIT, NOW)


def test_all_keys_are_checked_at_once_and_again() -> None:
    told, enough = list[KeyHealth](), threading.Event()

    def tell(health: KeyHealth) -> None:
        told.append(health)
        if len(told) == 5:
            enough.set()
        if len(told) == 2:
            raise OSError("the disk is full")

    def no_backend(_at: datetime) -> SoftwareBackend:
        raise TimeoutError

    key = ec.generate_private_key(ec.SECP256R1())
    backend = SoftwareBackend({Purpose.AUDIT: key})
    checks = [
        HealthCheck(Purpose.AUDIT, lambda _at: backend),
        HealthCheck(Purpose.RECEIPT_LOG, no_backend),
    ]
    watch = HealthWatch(checks, tell, lambda: NOW, pause=timedelta(milliseconds=1))
    watch.start()
    assert enough.wait(LONG)
    watch.stop()
    assert {health.purpose: health.failure for health in told} == {
        Purpose.AUDIT: "",
        Purpose.RECEIPT_LOG: "TimeoutError",
    }
    assert len(backend.signed) == 1  # the others were told of the first


def test_what_a_check_brings_after_the_end_is_not_told() -> None:
    began, go_on, told = threading.Event(), threading.Event(), list[KeyHealth]()

    def backend(_at: datetime) -> SoftwareBackend:
        began.set()
        go_on.wait(LONG)
        raise TimeoutError

    watch = HealthWatch([HealthCheck(Purpose.AUDIT, backend)], told.append, lambda: NOW)
    watch.start()
    assert began.wait(LONG)
    watch.stop()
    go_on.set()
    watch._thread.join(LONG)
    assert told == []
