"""One key of a CA's revocation lists follows another."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Engine

from ocsp.responder.crl_issuing import CrlIssuer, entries_of
from tests.support.certificates import issue, lists_spec
from tests.support.crl_office import HELD, ISSUER, PKI, Office, base_in, delta_of
from tests.support.databases import Database
from webapi.storage.realm import Realm

SUCCESSOR = issue(lists_spec(PKI.citizen_ca, PKI.national_ca, "next lists"))
NEXT = CrlIssuer(PKI.citizen_ca.certificate, SUCCESSOR.certificate, SUCCESSOR.key)


@pytest.fixture
def engine(database: Database) -> Engine:
    return database.engine(Realm.PKI)


def is_signed_by(issuer: CrlIssuer, der: bytes | None) -> bool:
    assert der is not None
    key = issuer.certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return x509.load_der_x509_crl(der).is_signature_valid(key)


def test_a_key_that_begins_to_sign_begins_a_series_at_once(engine: Engine) -> None:
    office = Office(engine)
    office.publish()
    office.suspend(7)
    before = office.publish()
    office.publisher = office.publisher_of(NEXT)
    first = office.publish()
    assert first.number > before.number
    assert entries_of(first.complete) == {7: HELD}
    # Nobody may apply a delta list to another key's list.
    assert first.base_number == base_in(first) == first.number
    assert delta_of(first) == {}
    for der in (first.complete, first.delta):
        assert is_signed_by(NEXT, der)
        assert not is_signed_by(ISSUER, der)
    assert office.publish() == first
    office.suspend(8)
    changed = office.publish()
    assert base_in(changed) == changed.base_number == first.number
    assert delta_of(changed) == {8: HELD}
    assert is_signed_by(NEXT, changed.delta)


def test_where_no_delta_lists_are_made_a_new_key_begins_at_once_too(engine: Engine) -> None:
    office = Office(engine, deltas=False)
    office.suspend(7)
    before = office.publish()
    office.publisher = office.publisher_of(NEXT)
    first = office.publish()
    assert first.number > before.number
    assert first.delta is None
    assert entries_of(first.complete) == {7: HELD}
    assert is_signed_by(NEXT, first.complete)


def test_listeners_of_two_keys_make_no_lists_against_each_other(engine: Engine) -> None:
    office = Office(engine)
    early, late = office.publisher_of(NEXT), office.publisher
    office.publish()
    office.publisher = early
    taken_over = office.publish()
    office.publisher = late
    assert office.publish() == taken_over
    office.suspend(7)
    changed = office.publish()
    assert is_signed_by(ISSUER, changed.complete)
    assert entries_of(changed.complete) == {7: HELD}
    assert delta_of(changed) == {}
    office.publisher = early
    assert office.publish() == changed
    # The listener that comes to the new key at last begins with it, as the first one did.
    office.publisher = office.publisher_of(NEXT)
    assert is_signed_by(NEXT, office.publish().complete)
