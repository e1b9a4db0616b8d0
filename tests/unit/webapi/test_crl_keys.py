"""One key of a CA's revocation lists follows another."""

from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import Engine

from ocsp.errors import ResponderMisconfigured
from ocsp.responder.crl_issuing import CrlIssuer, Removed, entries_of
from signer.rotation import KeyState, KeyTerm, Rotated, Rotation, only_key
from tests.support.certificates import NOW, issue, lists_spec
from tests.support.crl_office import (
    ALONE,
    HELD,
    ISSUER,
    LIFE,
    PKI,
    SECOND,
    SIGNER,
    NotToday,
    Office,
    base_in,
    delta_of,
)
from tests.support.databases import Database
from webapi.crl_publishing import SUCCESSION_REST
from webapi.published_lists import CrlSource
from webapi.storage.answer_holds import AnswerHoldReason, AnswersOnHold, SqlAnswerHolds
from webapi.storage.crls import SqlCrlStore
from webapi.storage.realm import Realm

SUCCESSOR = issue(lists_spec(PKI.citizen_ca, PKI.national_ca, "next lists"))
NEXT = CrlIssuer(PKI.citizen_ca.certificate, SUCCESSOR.certificate, SUCCESSOR.key)
TAKES_OVER = timedelta(hours=1)
BY_THE_CLOCK = Rotated(
    Rotation(
        (
            KeyTerm("lists", KeyState.CURRENT, accepted_until=NOW + 9 * LIFE),
            KeyTerm("next", KeyState.NEXT, takes_over_at=NOW + TAKES_OVER),
        )
    ),
    {"lists": ISSUER, "next": NEXT},
)
NEXT_ALONE = Rotated(only_key("next"), {"next": NEXT})


@pytest.fixture
def engine(database: Database) -> Engine:
    return database.engine(Realm.PKI)


def is_signed_by(issuer: CrlIssuer, der: bytes | None) -> bool:
    assert der is not None
    key = issuer.certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return x509.load_der_x509_crl(der).is_signature_valid(key)


def test_a_key_that_takes_over_begins_a_series_at_once(engine: Engine) -> None:
    office = Office(engine, issuers=BY_THE_CLOCK)
    office.publish()
    office.suspend(7)
    before = office.publish()
    office.at = NOW + TAKES_OVER - SECOND
    assert office.publish(timedelta(microseconds=999_999)) == before
    first = office.publish(timedelta(microseconds=1))
    assert first.this_update == NOW + TAKES_OVER
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
    office = Office(engine, deltas=False, issuers=BY_THE_CLOCK)
    office.suspend(7)
    before = office.publish()
    first = office.publish(TAKES_OVER)
    assert first.number > before.number
    assert first.delta is None
    assert entries_of(first.complete) == {7: HELD}
    assert is_signed_by(NEXT, first.complete)


def test_a_process_that_starts_makes_no_list_while_its_key_signed_the_newest(
    engine: Engine,
) -> None:
    office = Office(engine)
    first = office.publish()
    office.publisher = office.publisher_of(ALONE)
    assert office.publish(SUCCESSION_REST) == first


def test_what_keeps_a_key_from_its_first_list_keeps_it_due(engine: Engine) -> None:
    office = Office(engine, issuers=BY_THE_CLOCK)
    before = office.publish()
    office.is_today = False
    with pytest.raises(NotToday):
        office.publish(TAKES_OVER)
    office.is_today = True
    holds = SqlAnswerHolds(engine)
    holds.place(reason=AnswerHoldReason.BEHIND, at=NOW)
    with pytest.raises(AnswersOnHold):
        office.publish()
    holds.release(statement="compared", at=NOW)
    first = office.publish()
    assert first.number > before.number
    assert is_signed_by(NEXT, first.complete)


def test_listeners_of_two_keys_make_few_lists_against_each_other(engine: Engine) -> None:
    office = Office(engine)
    late, early = office.publisher, office.publisher_of(NEXT_ALONE)
    office.publish()
    office.publisher = early
    taken_over = office.publish(SUCCESSION_REST)
    assert is_signed_by(NEXT, taken_over.complete)
    office.publisher = late
    assert office.publish(SUCCESSION_REST - 2 * SECOND) == taken_over
    # What the last process of the old key still made is replaced soon, not with the clock.
    office.suspend(7)
    changed = office.publish()
    assert is_signed_by(ISSUER, changed.complete)
    office.publisher = early
    assert office.publish(SUCCESSION_REST - SECOND) == changed
    assert is_signed_by(NEXT, office.publish().complete)


@pytest.mark.parametrize("ahead", [timedelta(minutes=4), timedelta(minutes=10)])
def test_nor_do_listeners_whose_clocks_are_far_apart(engine: Engine, ahead: timedelta) -> None:
    office = Office(engine)
    late, early = office.publisher, office.publisher_of(NEXT_ALONE, ahead)
    office.publish()
    numbers = set()
    for _ in range(60):
        for publisher in (early, late):
            office.publisher = publisher
            numbers.add(office.publish(timedelta(seconds=0.5)).number)
    assert len(numbers) <= 3


def test_of_two_that_would_begin_one_does(engine: Engine) -> None:
    office = Office(engine, issuers=BY_THE_CLOCK)
    before = office.publish()
    first = office.publish(TAKES_OVER)
    # The other one looked before this list was there.
    assert office.crls.take_turn(office.at + SECOND, replaces=before.number) is None
    turn = office.crls.take_turn(office.at + SECOND, replaces=first.number)
    assert turn is not None
    assert turn.is_scheduled


def test_no_delta_list_changes_another_keys_list_however_they_interleave(engine: Engine) -> None:
    office = Office(engine)
    late, early = office.publisher, office.publisher_of(NEXT_ALONE)
    office.publish()
    office.publisher = early
    office.publish(SUCCESSION_REST)
    office.suspend(8)
    assert delta_of(office.publish()) == {8: HELD}
    office.publisher = late
    office.suspend(9)
    between = office.publish()
    assert entries_of(between.complete) == {8: HELD, 9: HELD}
    assert base_in(between) == between.base_number == between.number
    office.publisher = early
    office.restore(8)
    after = office.publish()
    assert entries_of(after.complete) == {9: HELD}
    assert base_in(after) == after.base_number == after.number
    assert delta_of(after) == {}
    # From here on its delta lists are told to its own list again.
    office.restore(9)
    last = office.publish()
    assert base_in(last) == after.number
    assert delta_of(last) == {9: Removed(NOW)}


def test_what_has_expired_when_a_key_takes_over_stays_for_the_life_of_a_list(
    engine: Engine,
) -> None:
    office = Office(engine, issuers=BY_THE_CLOCK)
    office.certificates.register(
        ca="citizen", serial=6, subject="CN=x", not_after=NOW + timedelta(minutes=30)
    )
    office.suspend(6)
    office.publish()
    assert entries_of(office.publish(TAKES_OVER).complete) == {6: HELD}
    office.suspend(7)
    assert entries_of(office.publish().complete) == {6: HELD, 7: HELD}
    assert entries_of(office.publish(LIFE).complete) == {6: HELD, 7: HELD}
    assert entries_of(office.publish(LIFE).complete) == {7: HELD}


def test_the_certificate_is_that_of_the_list_beside_it(engine: Engine) -> None:
    office = Office(engine, issuers=BY_THE_CLOCK)

    def told(status: int = 200) -> bytes:
        answer = office.client.get("/certs/crl-citizen.cer")
        assert answer.status_code == status
        return bytes(answer.data)

    told(404)
    office.publish()
    assert told() == SIGNER.der
    life = office.client.get("/certs/crl-citizen.cer").headers["Cache-Control"]
    assert life == "max-age=300, public"
    office.at = NOW + TAKES_OVER
    assert told() == SIGNER.der, "its successor has made no list yet"
    office.publish()
    assert told() == SUCCESSOR.der
    assert office.client.get("/certs/crl-citizen.delta.cer").status_code == 404
    office.is_today = False
    assert b"certificate_records_in_doubt" in told(503)
    office.is_today = True
    SqlAnswerHolds(engine).place(reason=AnswerHoldReason.BEHIND, at=NOW)
    assert b"certificate_records_in_doubt" in told(503)


def test_no_certificate_is_told_that_does_not_verify_the_list_beside_it(engine: Engine) -> None:
    office = Office(engine, issuers=NEXT_ALONE)
    office.publisher = office.publisher_of(ALONE)
    office.publish()
    assert office.client.get("/certs/crl-citizen.cer").status_code == 404


def test_two_keys_of_one_identifier_are_refused(engine: Engine) -> None:
    digest = x509.SubjectKeyIdentifier.from_public_key(SIGNER.certificate.public_key()).digest
    other = issue(
        replace(
            lists_spec(PKI.citizen_ca, PKI.national_ca, "copied"), subject_key_identifier=digest
        )
    )
    with pytest.raises(ResponderMisconfigured, match="same identifier"):
        CrlSource(SqlCrlStore(engine, "citizen"), [SIGNER.certificate, other.certificate])


def test_a_list_that_cannot_be_read_is_replaced(engine: Engine) -> None:
    office = Office(engine)
    first = office.publish()
    office.suspend(7)
    turn = office.crls.take_turn(office.at)
    assert turn is not None
    spoilt = replace(first, number=turn.number, complete=b"no list", delta=None)
    office.crls.publish(turn, spoilt, refresh_at=None)
    healed = office.publish(SUCCESSION_REST)
    assert healed.number > turn.number
    assert entries_of(healed.complete) == {7: HELD}
    assert is_signed_by(ISSUER, healed.complete)
    assert base_in(healed) == first.number
    assert delta_of(healed) == {7: HELD}
