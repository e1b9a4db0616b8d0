"""Revocation lists: when none is made or given out first, then what each change brings about."""

from dataclasses import replace
from datetime import timedelta
from hashlib import sha256

import pytest
from cryptography import x509
from sqlalchemy import Engine
from werkzeug.http import http_date

from ocsp.errors import ResponderMisconfigured
from ocsp.responder.crl_issuing import Removed, entries_of
from ocsp.responder.statuses import IssuedRevoked, RevocationReason
from tests.support.certificates import (
    NOW,
)
from tests.support.crl_office import (
    HELD,
    LIFE,
    SECOND,
    SIGNER,
    NotToday,
    Office,
    base_in,
    delta_of,
)
from tests.support.databases import Database
from webapi.storage.answer_holds import AnswerHoldReason, AnswersOnHold, SqlAnswerHolds
from webapi.storage.crls import TURN_LIFE, CrlTurnLost, PublishedCrl, SqlCrlStore
from webapi.storage.realm import Realm


@pytest.fixture
def engine(database: Database) -> Engine:
    return database.engine(Realm.PKI)


@pytest.fixture
def office(engine: Engine) -> Office:
    return Office(engine)


def test_no_list_is_made_or_given_out_while_the_records_are_in_doubt(
    office: Office, engine: Engine
) -> None:
    office.is_today = False
    with pytest.raises(NotToday):
        office.publisher.run_once()
    office.is_today = True
    office.publish(TURN_LIFE)
    assert office.client.get("/crl/citizen.crl").status_code == 200
    office.is_today = False
    refused = office.client.get("/crl/citizen.crl")
    assert refused.status_code == 503
    assert refused.json is not None
    assert refused.json["code"] == "certificate_records_in_doubt"
    office.is_today = True
    SqlAnswerHolds(engine).place(reason=AnswerHoldReason.BEHIND, at=NOW)
    assert office.client.get("/crl/citizen.crl").status_code == 503
    with pytest.raises(AnswersOnHold):
        office.publisher.run_once()


def test_a_failure_ends_the_turn(office: Office) -> None:
    office.publish()
    office.suspend(7)
    office.is_today = False
    with pytest.raises(NotToday):
        office.publish()
    office.is_today = True
    assert entries_of(office.publish().complete) == {7: HELD}


def test_a_turn_that_is_given_back_late_ends_no_other(office: Office) -> None:
    turn = office.crls.take_turn(NOW)
    assert turn is not None
    later = NOW + TURN_LIFE
    assert office.crls.take_turn(later) is not None
    office.crls.give_back(turn)
    assert office.crls.take_turn(later) is None


def test_an_expired_certificate_of_the_lists_signs_none(office: Office) -> None:
    office.at = SIGNER.certificate.not_valid_after_utc
    with pytest.raises(ResponderMisconfigured):
        office.publisher.run_once()


@pytest.mark.parametrize("before_the_end", [timedelta(hours=1), LIFE, LIFE + SECOND])
def test_no_list_outlives_the_certificate_of_its_key(
    office: Office, before_the_end: timedelta
) -> None:
    end = SIGNER.certificate.not_valid_after_utc
    office.at = end - before_the_end
    crl = office.publish(timedelta(0))
    assert crl.next_update == min(end, office.at + LIFE)
    assert crl.delta is not None
    for der in (crl.complete, crl.delta):
        assert x509.load_der_x509_crl(der).next_update_utc == crl.next_update
    following = office.publish(min(LIFE, before_the_end) - SECOND)
    assert (following.number > crl.number, following.next_update <= end) == (True, True)


def test_before_the_first_list_and_beside_it_there_is_none(engine: Engine) -> None:
    office = Office(engine, deltas=False)
    early = office.client.get("/crl/citizen.crl")
    assert (early.status_code, early.headers["Retry-After"]) == (503, "5")
    office.publish()
    for name in ("other", "citizen.delta", "other.delta", ""):
        assert office.client.get(f"/crl/{name}.crl").status_code == 404


def test_one_of_two_makers_has_the_turn_and_a_late_one_publishes_nothing(office: Office) -> None:
    turn = office.crls.take_turn(NOW)
    assert turn is not None
    assert office.crls.take_turn(NOW) is None
    later = office.crls.take_turn(NOW + TURN_LIFE)
    assert later is not None
    assert later.number > turn.number
    crl = PublishedCrl(turn.number, turn.number, NOW, NOW + LIFE, b"crl", None)
    with pytest.raises(CrlTurnLost):
        office.crls.publish(turn, crl, refresh_at=NOW + LIFE)
    office.crls.publish(later, replace(crl, number=later.number), refresh_at=NOW + LIFE)
    assert office.crls.take_turn(NOW + TURN_LIFE) is None


def test_numbers_rise_also_in_one_second_and_above_those_of_a_database_put_back(
    office: Office,
) -> None:
    first = office.publish()
    numbers = [first.number]
    for change in (office.suspend, office.restore):
        change(7)
        numbers.append(office.publish(timedelta(0)).number)
    assert numbers == [first.number, first.number + 1, first.number + 2]
    office.suspend(7)
    assert office.publish(timedelta(days=1)).number == int(office.at.timestamp())


def test_a_change_while_a_list_is_being_made_is_on_the_next(office: Office) -> None:
    turn = office.crls.take_turn(NOW)
    assert turn is not None
    office.suspend(7)
    crl = PublishedCrl(turn.number, turn.number, NOW, NOW + LIFE, b"crl", None)
    office.crls.publish(turn, crl, refresh_at=NOW + LIFE)
    again = office.crls.take_turn(NOW)
    assert again is not None
    assert not again.is_scheduled


def test_every_change_brings_a_list_and_a_delta_list(office: Office) -> None:
    first = office.publish()
    assert entries_of(first.complete) == {}
    assert delta_of(first) == {}
    assert base_in(first) == first.number
    office.suspend(7)
    held = office.publish()
    assert entries_of(held.complete) == delta_of(held) == {7: HELD}
    assert base_in(held) == held.base_number == first.number
    office.restore(7)
    restored = office.publish()
    assert entries_of(restored.complete) == {}
    assert delta_of(restored) == {7: Removed(NOW)}
    office.suspend(8)
    office.certificates.revoke(ca="citizen", serial=8, at=office.at, reason="superseded")
    revoked = office.publish()
    told = IssuedRevoked(NOW + 3 * SECOND, RevocationReason.SUPERSEDED)
    assert entries_of(revoked.complete) == {8: told}
    assert delta_of(revoked) == {7: Removed(NOW), 8: told}
    quiet = office.publish()
    assert quiet == revoked


def test_the_clock_begins_a_series_well_before_the_last_list_ends(office: Office) -> None:
    first = office.publish()
    office.suspend(7)
    office.publish()
    assert office.publish(timedelta(hours=15)).base_number == first.number
    office.suspend(8)
    second = office.publish(timedelta(hours=2))
    assert second.base_number == second.number
    assert base_in(second) == first.number
    assert delta_of(second) == {7: HELD, 8: HELD}
    office.suspend(9)
    third = office.publish()
    assert base_in(third) == second.number
    assert delta_of(third) == {9: HELD}


def test_what_has_expired_is_on_one_more_list_and_then_on_none(office: Office) -> None:
    office.suspend(7)
    office.publish()
    assert entries_of(office.publish(timedelta(days=10)).complete) == {7: HELD}
    assert entries_of(office.publish(timedelta(days=1)).complete) == {}


@pytest.mark.parametrize("deltas", [True, False])
def test_after_a_clock_that_was_ahead_a_list_of_today_has_what_is_valid_today(
    engine: Engine, *, deltas: bool
) -> None:
    office = Office(engine, deltas=deltas)
    office.suspend(7)
    office.publish(timedelta(days=20))
    today = office.publish(timedelta(days=-20) + SECOND)
    assert today.this_update == NOW + SECOND
    assert entries_of(today.complete) == {7: HELD}


def test_a_listener_whose_clock_is_a_little_behind_makes_no_list_again(office: Office) -> None:
    first = office.publish()
    assert office.publish(-SECOND) == first


def test_a_turn_that_a_clock_ahead_took_keeps_nobody_waiting(office: Office) -> None:
    assert office.crls.take_turn(NOW + timedelta(days=20)) is not None
    assert office.crls.take_turn(NOW) is not None


def test_what_has_expired_stays_until_a_list_that_the_clock_asked_for_had_it(
    office: Office,
) -> None:
    office.suspend(7)
    office.publish(timedelta(days=9) - SECOND)
    for change in (office.suspend, office.restore):
        change(8)
        assert 7 in entries_of(office.publish(timedelta(hours=1)).complete)
    assert 7 in entries_of(office.publish(timedelta(days=1)).complete)
    assert entries_of(office.publish(timedelta(days=1)).complete) == {}


def test_a_list_is_given_out_with_what_caches_need(office: Office) -> None:
    office.suspend(7)
    crl = office.publish()
    response = office.client.get("/crl/citizen.crl")
    assert response.data == crl.complete
    assert response.content_type == "application/pkix-crl"
    assert response.headers["Cache-Control"] == "max-age=300, public"
    assert response.headers["Last-Modified"] == http_date(crl.this_update)
    assert response.headers["Expires"] == http_date(office.at + timedelta(minutes=5))
    condition = {"If-None-Match": response.headers["ETag"]}
    same = office.client.get("/crl/citizen.crl", headers=condition)
    assert (same.status_code, same.data) == (304, b"")
    office.restore(7)
    office.publish()
    newer = office.client.get("/crl/citizen.crl", headers=condition)
    assert newer.status_code == 200
    delta = office.client.get("/crl/citizen.delta.crl")
    assert dict(entries_of(delta.data)) == {7: Removed(NOW)}
    signer = office.client.get("/certs/crl-citizen.cer")
    assert signer.data == SIGNER.der


def test_bytes_of_a_list_are_read_once_for_each_version(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    newest = SqlCrlStore.newest

    def counting(store: SqlCrlStore) -> PublishedCrl | None:
        found = newest(store)
        read.append(found)
        return found

    office.publish()
    monkeypatch.setattr(SqlCrlStore, "newest", counting)
    first = office.client.get("/crl/citizen.crl")
    assert len(read) == 1
    condition = {"If-None-Match": first.headers["ETag"]}
    for path in ("/crl/citizen.crl", "/crl/citizen.delta.crl"):
        head = office.client.head(path)
        body = office.client.get(path)
        assert (head.status_code, head.data) == (200, b"")
        assert head.headers["Content-Length"] == str(len(body.data))
        assert head.headers["ETag"] == body.headers["ETag"] == f'"{sha256(body.data).hexdigest()}"'
    assert office.client.get("/crl/citizen.crl", headers=condition).status_code == 304
    assert office.client.head("/crl/citizen.crl", headers=condition).status_code == 304
    assert len(read) == 1
    office.suspend(7)
    monkeypatch.undo()
    second = office.publish()
    monkeypatch.setattr(SqlCrlStore, "newest", counting)
    newer = office.client.get("/crl/citizen.crl", headers=condition)
    assert (newer.status_code, newer.data) == (200, second.complete)
    assert len(read) == 2


@pytest.mark.parametrize("lists", [0, 1])
def test_no_kept_list_and_not_its_absence_is_told_while_the_records_are_in_doubt(
    office: Office, engine: Engine, lists: int
) -> None:
    for _ in range(lists):
        office.publish()
    assert office.client.get("/crl/citizen.crl").status_code == (200 if lists else 503)
    SqlAnswerHolds(engine).place(reason=AnswerHoldReason.BEHIND, at=NOW)
    assert "certificate_records_in_doubt" in office.client.get("/crl/citizen.crl").text


def test_two_lists_of_one_second_are_told_apart(office: Office) -> None:
    office.publish()
    first = office.client.get("/crl/citizen.crl")
    office.suspend(7)
    second = office.publish(timedelta(0))
    since = {"If-Modified-Since": first.headers["Last-Modified"]}
    newer = office.client.get("/crl/citizen.crl", headers=since)
    assert (newer.status_code, newer.data) == (200, second.complete)
