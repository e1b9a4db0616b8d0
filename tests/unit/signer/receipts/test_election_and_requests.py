"""The manifest to the byte; the election system's requests; accepting a ballot once."""

import base64
import hashlib
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from signer.receipts.acceptance import NewRegistration, StoredRegistration, fetch, register
from signer.receipts.election import Manifest, decode_key, draw_up_manifest
from signer.receipts.errors import (
    ElectionNotFound,
    ElectionNotYetOpen,
    ElectionOver,
    KeyMalformed,
    ManifestMalformed,
    RequestExpired,
    RequestMalformed,
    RequestMisdirected,
    RequestSignatureInvalid,
    RequestTimeWrong,
    SaltDamaged,
    SaltErased,
    SubmissionConflict,
    SubmissionExists,
    SubmissionNotFound,
)
from signer.receipts.jws import MAX_JWS_BYTES, sign_jws, thumbprint
from signer.receipts.merkle import EMPTY_ROOT
from signer.receipts.registration import (
    CLOSE_TYPE,
    RECEIPT_REQUEST_TYPE,
    REGISTRATION_TYPE,
    CloseOrder,
    ElectionSystem,
    ReceiptRequest,
    Registration,
    UnverifiedRegistration,
    sign_receipt_request,
    verify_close,
    verify_receipt_request,
    verify_registration,
)
from tests.support.receipt_disk import ReceiptDisk, ballot, submission_id
from tests.support.receipts import AUDIENCE, DOMAIN, ELECTION, NOW, TrialElection, public_keys
from webapi.storage.registrations import SqlRegistrationStore
from webapi.storage.salt_keys import FileSaltVault, SaltKeyUnsafe

TRIAL = TrialElection()
MANIFEST = TRIAL.manifest()
SYSTEM = ElectionSystem(ELECTION, TRIAL.system_key.public_key(), AUDIENCE)

# The manifest.


def test_the_manifest_is_as_documented() -> None:
    members = json.loads(MANIFEST.serialise())
    assert list(members) == [
        "closes_at",
        "election_id",
        "election_system_key",
        "format",
        "log_keys",
        "no_vote_proof",
        "opens_at",
        "origin",
        "policy_sha256",
        "title",
    ]
    assert members["opens_at"] == "2026-11-21T08:30:17Z"
    assert members["origin"] == f"{DOMAIN}/{ELECTION}"
    assert members["policy_sha256"] == hashlib.sha256(MANIFEST.policy()).hexdigest()
    assert "Туршилтын".encode() in MANIFEST.serialise()
    assert MANIFEST.genesis().manifest_sha256 == hashlib.sha256(MANIFEST.serialise()).digest()


def test_the_manifest_round_trips() -> None:
    assert Manifest.parse(MANIFEST.serialise()) == MANIFEST


CHANGES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "format": lambda m: m.update(format="mn.manifest/2"),
    "missing": lambda m: m.pop("title"),
    "unknown": lambda m: m.update(more=1),
    "time with offset": lambda m: m.update(opens_at="2026-11-21T08:30:17+00:00"),
    "window": lambda m: m.update(closes_at=m["opens_at"]),
    "key": lambda m: m.update(election_system_key="AA=="),
    "flag": lambda m: m.update(no_vote_proof=1),
    "keys": lambda m: m.update(log_keys=[]),
    "key list": lambda m: m["log_keys"].update(current=5),
    "no ecdsa": lambda m: m["log_keys"].update(current=m["log_keys"]["current"][1:]),
    "twice": lambda m: m["log_keys"].update(standby=m["log_keys"]["current"]),
    "another origin": lambda m: m.update(origin="elsewhere/" + ELECTION),
    "policy": lambda m: m.update(policy_sha256="00" * 32),
    "title": lambda m: m.update(title=5),
    "empty title": lambda m: m.update(title=""),
    "title not NFC": lambda m: m.update(title="e\u0301"),
    "title with control": lambda m: m.update(title="a\u0007"),
    "title too long": lambda m: m.update(title="a" * 201),
    "unknown key kind": lambda m: m["log_keys"].update(more=[]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_malformed_manifests(change: str) -> None:
    members = json.loads(MANIFEST.serialise())
    CHANGES[change](members)
    data = json.dumps(members, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    with pytest.raises(ManifestMalformed):
        Manifest.parse(data.encode())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        MANIFEST.serialise() + b" ",
        MANIFEST.serialise().replace(b'"format"', b'"format":"mn.manifest/1","format"'),
        b'{"a":NaN}',
        b'{"a":1.5}',
        b"[" * 100_000,
        bytes(65_537),
        json.dumps(json.loads(MANIFEST.serialise()), sort_keys=True).encode(),
    ],
)
def test_bytes_that_are_not_the_one_form(data: bytes) -> None:
    with pytest.raises(ManifestMalformed):
        Manifest.parse(data)


def drawn_up(**changes: Any) -> Manifest:
    arguments: dict[str, Any] = {
        "election_id": ELECTION,
        "title": "Trial",
        "domain": DOMAIN,
        "opens_at": NOW,
        "closes_at": NOW + timedelta(days=1),
        "election_system_key": TRIAL.system_key.public_key(),
        "current_keys": public_keys(TRIAL.signer),
        "standby_keys": [],
        "no_vote_proof": False,
    }
    return draw_up_manifest(**{**arguments, **changes})


@pytest.mark.parametrize(
    "changes",
    [
        {"election_id": "Upper"},
        {"election_id": "a/b"},
        {"domain": ""},
        {"domain": "a b"},
        {"opens_at": NOW.replace(microsecond=1)},
        {"opens_at": NOW.replace(tzinfo=None)},
        {"current_keys": []},
        {"election_system_key": ec.generate_private_key(ec.SECP384R1()).public_key()},
    ],
)
def test_manifests_that_are_not_drawn_up(changes: dict[str, Any]) -> None:
    with pytest.raises(ManifestMalformed):
        drawn_up(**changes)


def test_origins_that_are_not_names() -> None:
    with pytest.raises(ManifestMalformed, match="origin"):
        replace(MANIFEST, origin="a b/" + ELECTION)


def test_a_manifest_without_standby_keys() -> None:
    manifest = drawn_up()
    assert Manifest.parse(manifest.serialise()).standby_keys == ()


@pytest.mark.parametrize("text", ["", "!", "AA=="])
def test_texts_that_are_no_key(text: str) -> None:
    with pytest.raises(KeyMalformed):
        decode_key(text)


def test_a_key_of_another_kind() -> None:
    der = base64.b64decode(str(MANIFEST.current_keys[1]).split("+", 2)[2])[1:]
    spki = bytes.fromhex("302a300506032b6570032100") + der
    with pytest.raises(KeyMalformed, match="elliptic"):
        decode_key(base64.b64encode(spki).decode())


# Requests.

CLAIMS: dict[str, Any] = {
    "aud": AUDIENCE,
    "election_id": ELECTION,
    "submission_id": submission_id(1),
    "ballot_sha256": "ab" * 32,
    "iat": int(NOW.timestamp()) // 600 * 600,
}


def jws(
    claims: dict[str, Any],
    typ: str = REGISTRATION_TYPE,
    key: ec.EllipticCurvePrivateKey = TRIAL.system_key,
) -> bytes:
    return sign_jws(claims, typ=typ, private_key=key).encode()


def verified(body: bytes, at: datetime = NOW) -> Registration:
    return verify_registration(UnverifiedRegistration.parse(body), SYSTEM, at=at)


def test_a_good_registration_is_kept_as_evidence() -> None:
    body = jws(CLAIMS)
    registration = verified(body, NOW + timedelta(days=30))
    assert registration.evidence == body
    assert registration.ballot_sha256 == b"\xab" * 32


@pytest.mark.parametrize(
    "change",
    [
        {"submission_id": "short"},
        {"submission_id": "a" * 65},
        {"submission_id": "a" * 15 + "!"},
        {"submission_id": 5},
        {"ballot_sha256": "AB" * 32},
        {"ballot_sha256": "ab" * 31},
        {"iat": -600},
        {"iat": "600"},
        {"iat": True},
        {"aud": [AUDIENCE]},
        {"more": 1},
    ],
)
def test_malformed_claims(change: dict[str, Any]) -> None:
    with pytest.raises(RequestMalformed):
        UnverifiedRegistration.parse(jws(CLAIMS | change))


@pytest.mark.parametrize("name", CLAIMS)
def test_missing_claims(name: str) -> None:
    claims = {key: value for key, value in CLAIMS.items() if key != name}
    with pytest.raises(RequestMalformed):
        UnverifiedRegistration.parse(jws(claims))


def test_an_exact_second_is_refused() -> None:
    with pytest.raises(RequestTimeWrong, match="ten minutes"):
        UnverifiedRegistration.parse(jws(CLAIMS | {"iat": CLAIMS["iat"] + 1}))


def test_a_registration_from_the_future() -> None:
    with pytest.raises(RequestTimeWrong, match="future"):
        verified(jws(CLAIMS | {"iat": CLAIMS["iat"] + 1200}))


@pytest.mark.parametrize(
    "change", [{"aud": "https://elsewhere.example"}, {"election_id": "another"}]
)
def test_misdirected_registrations(change: dict[str, Any]) -> None:
    with pytest.raises(RequestMisdirected):
        verified(jws(CLAIMS | change))


def test_another_key() -> None:
    with pytest.raises(RequestSignatureInvalid):
        verified(jws(CLAIMS, key=ec.generate_private_key(ec.SECP256R1())))


def parts_of(body: bytes) -> list[bytes]:
    return body.split(b".")


def encoded(value: dict[str, Any]) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none", "typ": REGISTRATION_TYPE, "kid": "k"},
        {"alg": "HS256", "typ": REGISTRATION_TYPE, "kid": "k"},
        {"alg": "ES256", "typ": CLOSE_TYPE, "kid": "k"},
        {"alg": "ES256", "typ": REGISTRATION_TYPE},
        {"alg": "ES256", "typ": REGISTRATION_TYPE, "kid": "k", "crit": ["b64"], "b64": False},
        {"alg": "ES256", "typ": REGISTRATION_TYPE, "kid": "k", "jwk": {}},
    ],
)
def test_other_headers(header: dict[str, Any]) -> None:
    _, payload, signature = parts_of(jws(CLAIMS))
    with pytest.raises(RequestMalformed):
        UnverifiedRegistration.parse(b".".join([encoded(header), payload, signature]))


def test_the_key_id_is_signed_and_checked() -> None:
    from joserfc import jws as jose
    from joserfc.jwk import ECKey

    header = {"alg": "ES256", "typ": REGISTRATION_TYPE, "kid": "another"}
    body = jose.serialize_compact(
        header, json.dumps(CLAIMS), ECKey.import_key(TRIAL.system_key), ["ES256"]
    )
    with pytest.raises(RequestSignatureInvalid, match="key id"):
        verified(body.encode())


GOOD = jws(CLAIMS)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"a.b",
        b"a.b.c.d",
        b"a.b.c",
        GOOD + b"=",
        b"." + GOOD.partition(b".")[2],
        GOOD.replace(b".", b"..", 1),
        bytes(MAX_JWS_BYTES + 1),
        GOOD.rpartition(b".")[0] + b".\xc3\xa9",
        b".".join([parts_of(GOOD)[0], b"W10", parts_of(GOOD)[2]]),
        b".".join([parts_of(GOOD)[0], b"W11", parts_of(GOOD)[2]]),
        b".".join([parts_of(GOOD)[0], b"A", parts_of(GOOD)[2]]),
    ],
)
def test_bytes_that_are_no_request(body: bytes) -> None:
    with pytest.raises(RequestMalformed):
        UnverifiedRegistration.parse(body)


@given(st.binary(max_size=200))
def test_random_bytes_are_no_request(body: bytes) -> None:
    with pytest.raises(RequestMalformed):
        UnverifiedRegistration.parse(body)


@given(st.integers(0, len(GOOD) * 8 - 1))
def test_any_flipped_bit_is_refused(bit: int) -> None:
    changed = bytearray(GOOD)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises((RequestMalformed, RequestSignatureInvalid, RequestTimeWrong)):
        verified(bytes(changed))


REQUEST: dict[str, Any] = {
    "aud": AUDIENCE,
    "election_id": ELECTION,
    "submission_id": submission_id(1),
    "iat": int(NOW.timestamp()),
    "exp": int(NOW.timestamp()) + 300,
}


def request(claims: dict[str, Any], *, at: datetime = NOW, wanted: int = 1) -> ReceiptRequest:
    token = jws(claims, RECEIPT_REQUEST_TYPE)
    return verify_receipt_request(token, submission_id(wanted), SYSTEM, at=at)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"aud": "other"}, RequestMisdirected),
        ({"election_id": "other"}, RequestMisdirected),
        ({"submission_id": submission_id(2)}, RequestMisdirected),
        ({"exp": REQUEST["iat"] + 301}, RequestTimeWrong),
        ({"exp": REQUEST["iat"]}, RequestTimeWrong),
        ({"iat": REQUEST["iat"] + 301, "exp": REQUEST["iat"] + 400}, RequestTimeWrong),
        ({"iat": None}, RequestMalformed),
        ({"jti": "x"}, RequestMalformed),
    ],
)
def test_requests_for_a_receipt_that_are_refused(
    change: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        request(REQUEST | change)


def test_a_request_for_a_receipt_ends() -> None:
    assert request(REQUEST, at=NOW + timedelta(seconds=299)).submission_id == submission_id(1)
    with pytest.raises(RequestExpired, match="over"):
        request(REQUEST, at=NOW + timedelta(seconds=300))


def test_a_registration_is_no_request_for_a_receipt() -> None:
    with pytest.raises(RequestMalformed):
        verify_receipt_request(GOOD, submission_id(1), SYSTEM, at=NOW)


CLOSE: dict[str, Any] = {
    "aud": AUDIENCE,
    "election_id": ELECTION,
    "no_vote_root": EMPTY_ROOT.hex(),
    "no_vote_size": 0,
    "iat": int(NOW.timestamp()),
}


def test_orders_to_close() -> None:
    order = verify_close(jws(CLOSE, CLOSE_TYPE), SYSTEM, no_vote_proof=False, at=NOW)
    assert (order.no_vote_root, order.no_vote_size) == (EMPTY_ROOT, 0)
    with pytest.raises(RequestMalformed, match="no tree"):
        verify_close(
            jws(CLOSE | {"no_vote_size": 1}, CLOSE_TYPE), SYSTEM, no_vote_proof=False, at=NOW
        )
    with pytest.raises(RequestMisdirected):
        verify_close(jws(CLOSE | {"aud": "other"}, CLOSE_TYPE), SYSTEM, no_vote_proof=True, at=NOW)


def test_the_sealed_types_are_made_by_verification_alone() -> None:
    made = (
        verified(GOOD),
        request(REQUEST),
        verify_close(jws(CLOSE, CLOSE_TYPE), SYSTEM, no_vote_proof=True, at=NOW),
    )
    for value in made:
        with pytest.raises(TypeError):
            pickle.dumps(value)
    with pytest.raises(TypeError):
        Registration("", "", b"", b"")
    with pytest.raises(TypeError):
        ReceiptRequest("", "")
    with pytest.raises(TypeError):
        CloseOrder("", b"", 0, b"")


def test_key_ids_are_thumbprints() -> None:
    header = json.loads(base64.urlsafe_b64decode(parts_of(GOOD)[0] + b"=="))
    assert header["kid"] == thumbprint(TRIAL.system_key.public_key())
    token = sign_receipt_request(
        private_key=TRIAL.system_key,
        audience=AUDIENCE,
        election_id=ELECTION,
        submission_id=submission_id(1),
        at=NOW,
    )
    asked = verify_receipt_request(token.encode(), submission_id(1), SYSTEM, at=NOW)
    assert asked.election_id == ELECTION


# Accepting.


@pytest.fixture
def disk(tmp_path: Path) -> ReceiptDisk:
    return ReceiptDisk(tmp_path).create()


def test_the_window(disk: ReceiptDisk) -> None:
    with pytest.raises(ElectionNotYetOpen):
        disk.register(0, at=disk.manifest.opens_at - timedelta(seconds=1))
    with pytest.raises(ElectionOver):
        disk.register(0, at=disk.manifest.closes_at)
    disk.register(0, at=disk.manifest.opens_at)
    # A lawful retry comes at any time.
    disk.register(0, at=disk.manifest.closes_at + timedelta(days=1))


def test_the_same_id_with_another_ballot(disk: ReceiptDisk) -> None:
    disk.register(0)
    with pytest.raises(SubmissionConflict):
        disk.register(0, content=b"another", at=disk.manifest.closes_at)


class LateStore(SqlRegistrationStore):
    """Finds nothing at first, as if two requests looked at the same moment."""

    looked = 0

    def find(self, election_id: str, submission_id: str) -> StoredRegistration | None:
        LateStore.looked += 1
        if LateStore.looked == 1:
            return None
        return super().find(election_id, submission_id)


@pytest.mark.parametrize("same", [True, False])
def test_who_loses_the_race_gets_what_is_stored(disk: ReceiptDisk, *, same: bool) -> None:
    first = disk.register(0)
    LateStore.looked = 0
    disk.registrations = LateStore(disk.engine)
    if same:
        assert disk.register(0).sealed_salt == first.sealed_salt
    else:
        with pytest.raises(SubmissionConflict):
            disk.register(0, content=b"another")


def test_what_was_never_registered(disk: ReceiptDisk) -> None:
    with pytest.raises(SubmissionNotFound):
        fetch(request(REQUEST), store=disk.registrations)
    disk.register(1)
    assert fetch(request(REQUEST), store=disk.registrations).release is None


def test_the_store_refuses_what_the_database_forbids(disk: ReceiptDisk) -> None:
    new = NewRegistration("absent", submission_id(0), bytes(32), bytes(32), 1, b"", b"")
    with pytest.raises(ElectionNotFound):
        disk.registrations.insert(new)
    disk.register(0)
    with pytest.raises(SubmissionExists):
        disk.registrations.insert(replace(new, election_id=ELECTION))


def test_no_exact_time_is_stored(disk: ReceiptDisk) -> None:
    moment = NOW + timedelta(seconds=123)
    disk.register(0, at=moment)
    stored = (disk.folder / "data" / "tamga.db").read_bytes()
    stored += (disk.folder / "data" / "tamga.db-wal").read_bytes()
    assert str(int(moment.timestamp())).encode() not in stored
    assert b"submission-00000000" in stored


# Salts.


def test_erasing_a_key_erases_the_salts(disk: ReceiptDisk) -> None:
    disk.register(0)
    disk.sequencer().run_once(at=NOW)
    disk.sequencer().run_once(at=NOW)
    assert disk.receipt(0) is not None
    disk.vault.erase_key(ELECTION)
    with pytest.raises(SaltErased):
        disk.receipt(0)
    with pytest.raises(SaltErased):
        disk.register(1)


def test_salts_are_bound_to_their_submission(tmp_path: Path) -> None:
    vault = FileSaltVault(tmp_path / "salts")
    vault.ensure_key(ELECTION)
    vault.ensure_key(ELECTION)
    sealed = vault.seal(ELECTION, submission_id(0), bytes(32))
    assert vault.open(ELECTION, submission_id(0), sealed) == bytes(32)
    for wrong in (sealed[:-1], b"", sealed[:-1] + bytes([sealed[-1] ^ 1])):
        with pytest.raises(SaltDamaged):
            vault.open(ELECTION, submission_id(0), wrong)
    with pytest.raises(SaltDamaged):
        vault.open(ELECTION, submission_id(1), sealed)
    assert [path.name for path in (tmp_path / "salts").iterdir()] == [f"{ELECTION}.key"]


@pytest.mark.parametrize("change", [lambda p: p.chmod(0o640), lambda p: p.write_bytes(b"short")])
def test_key_files_that_are_not_safe(tmp_path: Path, change: Callable[[Path], None]) -> None:
    vault = FileSaltVault(tmp_path / "salts")
    vault.ensure_key(ELECTION)
    change(tmp_path / "salts" / f"{ELECTION}.key")
    with pytest.raises(SaltKeyUnsafe):
        vault.seal(ELECTION, submission_id(0), bytes(32))


def test_key_files_are_named_by_elections_alone(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="election id"):
        FileSaltVault(tmp_path).ensure_key("../x")


def test_a_registration_that_lost_its_ballot_has_a_receipt(disk: ReceiptDisk) -> None:
    disk.register(7)
    sequencer = disk.sequencer()
    sequencer.run_once(at=NOW)
    sequencer.run_once(at=NOW.astimezone(UTC))
    assert disk.verified(7).accepted_slot == int(NOW.timestamp()) // 600
    assert ballot(7) not in (disk.receipt(7) or b"")


def test_registering_uses_the_salt_it_is_given(disk: ReceiptDisk) -> None:
    registration = verify_registration(
        UnverifiedRegistration.parse(disk.registration_jws(0)), disk.system, at=NOW
    )
    stored = register(
        registration,
        disk.manifest,
        store=disk.registrations,
        vault=disk.vault,
        draw_salt=lambda: b"S" * 32,
        at=NOW,
    )
    assert disk.vault.open(ELECTION, submission_id(0), stored.sealed_salt) == b"S" * 32
