"""States of issued certificates: unlawful changes first, then the lawful ones, then races."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import Engine

from ocsp.responder.statuses import RevocationReason
from tests.support.certificates import NOW
from tests.support.databases import Database
from webapi.storage.certificates import (
    REVOCATION_REASONS,
    CertificateNotRecorded,
    CertificateRecord,
    CertificateRecordedOtherwise,
    CertificateState,
    CertificateStateWrong,
    SqlCertificateStore,
)
from webapi.storage.realm import Realm

SERIAL = (1 << 159) + 0xABC
END = NOW + timedelta(days=365)


@pytest.fixture
def engine(database: Database) -> Engine:
    return database.engine(Realm.PKI)


@pytest.fixture
def store(engine: Engine) -> SqlCertificateStore:
    store = SqlCertificateStore(engine)
    store.register(ca="citizen", serial=SERIAL, subject="CN=Bat Bold", not_after=END)
    return store


def state(store: SqlCertificateStore) -> CertificateState:
    record = store.status("citizen", SERIAL)
    assert record is not None
    return record.state


def test_a_serial_number_is_never_given_to_another(store: SqlCertificateStore) -> None:
    for subject, end in (("CN=Other", END), ("CN=Bat Bold", END + timedelta(days=1))):
        with pytest.raises(CertificateRecordedOtherwise):
            store.register(ca="citizen", serial=SERIAL, subject=subject, not_after=end)


def test_what_was_not_issued_cannot_be_changed(store: SqlCertificateStore) -> None:
    with pytest.raises(CertificateNotRecorded):
        store.suspend(ca="citizen", serial=1, at=NOW)
    with pytest.raises(CertificateNotRecorded):
        store.restore(ca="service", serial=SERIAL)
    with pytest.raises(CertificateNotRecorded):
        store.revoke(ca="service", serial=SERIAL, at=NOW, reason="superseded")


def test_a_revoked_certificate_is_never_restored_suspended_or_revoked_again(
    store: SqlCertificateStore,
) -> None:
    store.revoke(ca="citizen", serial=SERIAL, at=NOW, reason="keyCompromise")
    with pytest.raises(CertificateStateWrong) as caught:
        store.restore(ca="citizen", serial=SERIAL)
    assert caught.value.state is CertificateState.REVOKED
    with pytest.raises(CertificateStateWrong):
        store.suspend(ca="citizen", serial=SERIAL, at=NOW)
    with pytest.raises(CertificateStateWrong):
        store.revoke(ca="citizen", serial=SERIAL, at=NOW, reason="superseded")
    record = store.status("citizen", SERIAL)
    assert record is not None
    assert (record.reason, record.since) == ("keyCompromise", NOW)


def test_a_good_certificate_cannot_be_restored(store: SqlCertificateStore) -> None:
    with pytest.raises(CertificateStateWrong) as caught:
        store.restore(ca="citizen", serial=SERIAL)
    assert caught.value.state is CertificateState.GOOD


def test_a_suspended_certificate_cannot_be_suspended(store: SqlCertificateStore) -> None:
    store.suspend(ca="citizen", serial=SERIAL, at=NOW)
    with pytest.raises(CertificateStateWrong):
        store.suspend(ca="citizen", serial=SERIAL, at=NOW + timedelta(hours=1))
    record = store.status("citizen", SERIAL)
    assert record is not None
    assert record.since == NOW


@pytest.mark.parametrize("reason", ["certificateHold", "removeFromCRL", "", "other"])
def test_other_reasons_are_refused(store: SqlCertificateStore, reason: str) -> None:
    with pytest.raises(ValueError, match="no reason"):
        store.revoke(ca="citizen", serial=SERIAL, at=NOW, reason=reason)
    assert state(store) is CertificateState.GOOD


def test_the_reasons_are_those_of_the_responder() -> None:
    assert tuple(reason.value for reason in RevocationReason) == REVOCATION_REASONS


def test_suspension_and_release_leave_no_trace_in_the_status(store: SqlCertificateStore) -> None:
    before = store.status("citizen", SERIAL)
    store.suspend(ca="citizen", serial=SERIAL, at=NOW)
    assert state(store) is CertificateState.SUSPENDED
    store.restore(ca="citizen", serial=SERIAL)
    assert store.status("citizen", SERIAL) == before


def test_a_suspended_certificate_can_be_revoked(store: SqlCertificateStore) -> None:
    store.suspend(ca="citizen", serial=SERIAL, at=NOW)
    later = NOW + timedelta(hours=1)
    store.revoke(ca="citizen", serial=SERIAL, at=later, reason="superseded")
    assert store.status("citizen", SERIAL) == CertificateRecord(
        ca="citizen",
        serial=SERIAL,
        subject="CN=Bat Bold",
        not_after=END,
        state=CertificateState.REVOKED,
        since=later,
        reason="superseded",
    )


def test_registering_again_changes_nothing(store: SqlCertificateStore) -> None:
    store.suspend(ca="citizen", serial=SERIAL, at=NOW)
    store.register(ca="citizen", serial=SERIAL, subject="CN=Bat Bold", not_after=END)
    assert state(store) is CertificateState.SUSPENDED


def test_certificates_are_found_by_serial_number_and_listed(store: SqlCertificateStore) -> None:
    store.register(ca="service", serial=SERIAL, subject="CN=Service", not_after=END)
    store.register(ca="citizen", serial=2, subject="CN=Another", not_after=END)
    assert [record.ca for record in store.find(SERIAL)] == ["citizen", "service"]
    assert store.find(3) == ()
    assert store.status("service", 2) is None
    assert [record.subject for record in store.records()] == [
        "CN=Another",
        "CN=Bat Bold",
        "CN=Service",
    ]


def test_of_two_operators_one_succeeds(store: SqlCertificateStore) -> None:
    def suspend(_: int) -> bool:
        try:
            store.suspend(ca="citizen", serial=SERIAL, at=NOW)
        except CertificateStateWrong:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(suspend, range(8))) == 1
