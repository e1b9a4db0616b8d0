"""One key follows another in the running service, on a real token: nobody is refused."""

import json
import threading
from collections import Counter
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp as x509_ocsp

from ocsp.config import CertIdHash, NonceMode
from ocsp.request import build_query
from pkcs11_bridge.agent import challenge_proof
from pkcs11_bridge.agent.origins import PinnedOrigins
from signer.login.challenge import refill_stock
from signer.payload import Purpose
from signer.range_signer import LOGIN_CHALLENGE_RANGE
from tests.support.certificates import NOW, lists_spec
from tests.support.key_desk import PKI, PURPOSE, DeskService
from webapi import clock
from webapi.storage.certificates import SqlCertificateStore
from webapi.storage.challenges import SqlChallengeStore
from webapi.storage.engine import opened_engine
from webapi.storage.migration import upgrade
from webapi.storage.realm import Realm
from webapi.token_keys import CertificateNotConfigured
from webapi.wiring import Wiring

INSTANT = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
OLD, NEW = f"pkcs11:object={PURPOSE}", f"pkcs11:object={PURPOSE}-2027"
LEAF = PKI.leaf.certificate
TIMES = "takes_over_at = 2026-11-15T13:00:00Z"


class SetClock:
    """A clock that the test moves."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch, desk: DeskService) -> SetClock:
    moved = SetClock(NOW)
    monkeypatch.setattr(clock, "now", moved)
    return moved


def declare_succession(desk: DeskService, certificate: str) -> None:
    """The old key is followed by the new one an hour from now."""
    desk.declare(
        f'key = "{OLD}"\nstate = "current"\naccepted_until = 2026-11-16T12:00:00Z',
        f'key = "{NEW}"\nstate = "next"\n{TIMES}\n{certificate}',
    )


def two_delegates(desk: DeskService) -> None:
    for label, file in ((PURPOSE, "delegate.cer"), (f"{PURPOSE}-2027", "next.cer")):
        made = desk.run("key", "create", PURPOSE, "--label", label)
        assert made.exit_code == 0, made.output
        public_key = desk.public_key(made.stdout.partition("Next,")[0])
        desk.declare(f'key = "pkcs11:object={label}"\nstate = "current"\ncertificate = "{file}"')
        desk.done("key", "import-cert", PURPOSE, str(desk.certified(public_key)))
    with opened_engine(desk.settings().database.pki.url, Realm.PKI) as engine:
        SqlCertificateStore(engine).register(
            ca="citizen-ca",
            serial=LEAF.serial_number,
            subject=LEAF.subject.rfc4514_string(),
            not_after=LEAF.not_valid_after_utc,
        )


def ask(nonce: int) -> bytes:
    return build_query(
        LEAF,
        PKI.citizen_ca.certificate,
        certid_hash=CertIdHash.SHA256,
        nonce=NonceMode.REQUIRE,
        random_bytes=lambda size: nonce.to_bytes(size, "big"),
    ).der


def verified(answer: x509_ocsp.OCSPResponse) -> bytes:
    """The delegate's certificate, whose key signed the answer."""
    (certificate,) = answer.certificates
    key, algorithm = certificate.public_key(), answer.signature_hash_algorithm
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert algorithm is not None
    key.verify(answer.signature, answer.tbs_response_bytes, ec.ECDSA(algorithm))
    return certificate.public_bytes(Encoding.DER)


def assert_does_not_start(desk: DeskService) -> None:
    wiring = Wiring(desk.settings())
    try:
        with pytest.raises(CertificateNotConfigured, match="2027"):
            wiring.ocsp_application()
    finally:
        wiring.close()


def test_a_next_delegate_without_its_certificate_does_not_start(desk: DeskService) -> None:
    two_delegates(desk)
    declare_succession(desk, "")
    assert_does_not_start(desk)


def test_an_ocsp_key_follows_another_under_load_and_no_answer_is_refused(
    desk: DeskService, set_clock: SetClock
) -> None:
    two_delegates(desk)
    declare_succession(desk, 'certificate = "next.cer"')
    keys = [desk.folder.joinpath(name).read_bytes() for name in ("delegate.cer", "next.cer")]
    wiring = Wiring(desk.settings())
    seen: Counter[tuple[bool, bytes]] = Counter()
    wrong: list[str] = []
    enough_before, enough_after = threading.Event(), threading.Event()
    lock = threading.Lock()
    numbers = iter(range(1, 1_000_000))

    def load() -> None:
        client = application.test_client()
        while not enough_after.is_set():
            with lock:
                number = next(numbers)
            after = set_clock.at >= NOW + HOUR
            done = client.post(
                "/ocsp/citizen-ca", data=ask(number), content_type="application/ocsp-request"
            )
            read = x509_ocsp.load_der_ocsp_response(done.data)
            if read.response_status is not x509_ocsp.OCSPResponseStatus.SUCCESSFUL:
                with lock:
                    wrong.append(read.response_status.name)
                enough_before.set()
                enough_after.set()
                return
            delegate = verified(read)
            with lock:
                seen[after, delegate] += 1
                if seen[False, keys[0]] >= 20:
                    enough_before.set()
                if seen[True, keys[1]] >= 20:
                    enough_after.set()

    try:
        application = wiring.ocsp_application()
        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert enough_before.wait(60)
        set_clock.at = NOW + HOUR
        assert enough_after.wait(60)
        for thread in threads:
            thread.join()
    finally:
        enough_after.set()
        wiring.close()
    assert not wrong
    # Who asked when the new key was in charge already never got the old one's answer.
    assert set(seen) <= {(False, keys[0]), (False, keys[1]), (True, keys[1])}
    assert seen[False, keys[0]] >= 20
    assert seen[True, keys[1]] >= 20


LISTS = "crl-citizen-ca"
LIST_SPEC = lists_spec(PKI.citizen_ca, PKI.national_ca)


def two_keys_each(desk: DeskService) -> dict[str, list[bytes]]:
    """Delegate and lists have a key, and another an hour from now; their certificates, in DER."""
    desk.config.write_text(desk.config.read_text() + 'crl_certificate = "lists.cer"\n')
    certificates: dict[str, list[bytes]] = {PURPOSE: [], LISTS: []}
    for purpose, spec, file in (
        (PURPOSE, PKI.delegate_spec, "delegate.cer"),
        (LISTS, LIST_SPEC, "lists.cer"),
    ):
        for label, name in ((purpose, file), (f"{purpose}-2027", f"next-{file}")):
            made = desk.run("key", "create", purpose, "--label", label)
            public_key = desk.public_key(made.stdout.partition("Next,")[0])
            path = desk.certified_as(spec, public_key).rename(desk.folder / name)
            certificates[purpose].append(path.read_bytes())
        tables = (
            f'[[keys.{purpose}]]\nkey = "pkcs11:object={purpose}"\nstate = "current"\n'
            "accepted_until = 2026-11-16T12:00:00Z\n"
            f'[[keys.{purpose}]]\nkey = "pkcs11:object={purpose}-2027"\nstate = "next"\n{TIMES}\n'
            f'certificate = "next-{file}"\n'
        )
        desk.config.write_text(desk.config.read_text() + tables)
    return certificates


def test_keys_of_lists_and_of_answers_follow_others_at_one_instant(
    desk: DeskService, set_clock: SetClock
) -> None:
    certificates = two_keys_each(desk)
    wiring = Wiring(desk.settings())
    try:
        client = wiring.ocsp_application().test_client()
        jobs = {name: action for name, action, _ in wiring._ocsp_listener.jobs}
        assert len(jobs) == len(wiring._ocsp_listener.jobs)
        numbers = []
        for at, which in ((NOW, 0), (NOW + HOUR - INSTANT, 0), (NOW + HOUR, 1)):
            set_clock.at = at
            jobs["revocation-lists"]()
            crl = x509.load_der_x509_crl(client.get("/crl/citizen-ca.crl").data)
            told = client.get("/certs/crl-citizen-ca.cer").data
            assert told == certificates[LISTS][which]
            public_key = x509.load_der_x509_certificate(told).public_key()
            assert isinstance(public_key, ec.EllipticCurvePublicKey)
            assert crl.is_signature_valid(public_key)
            number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
            numbers.append(number)
            answer = client.post(
                "/ocsp/citizen-ca", data=ask(7), content_type="application/ocsp-request"
            )
            delegate = verified(x509_ocsp.load_der_ocsp_response(answer.data))
            assert delegate == certificates[PURPOSE][which]
    finally:
        wiring.close()
    assert numbers[0] == numbers[1] < numbers[2]


def test_a_next_key_of_lists_without_its_certificate_does_not_start(desk: DeskService) -> None:
    two_keys_each(desk)
    text = desk.config.read_text()
    desk.config.write_text(text.replace('certificate = "next-lists.cer"\n', ""))
    assert_does_not_start(desk)


CHALLENGE = "login-challenge"


@pytest.fixture
def login_desk(desk: DeskService) -> DeskService:
    """The token is the login zone's; two keys, of which the agents' file pins both."""
    text = desk.config.read_text().replace("[tokens.pki]", "[tokens.login]")
    desk.config.write_text(text)
    for label in (CHALLENGE, f"{CHALLENGE}-2027"):
        desk.done("key", "create", CHALLENGE, "--label", label)
    with opened_engine(desk.settings().database.login.url, Realm.LOGIN) as engine:
        upgrade(engine, Realm.LOGIN)
    return desk


def pins(desk: DeskService, name: str) -> PinnedOrigins:
    out = desk.folder / name
    done = desk.run("key", "origins", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert len(json.loads(out.read_text())["origins"]) == 1
    return PinnedOrigins.load(out)


def test_a_login_challenge_key_follows_another_while_agents_pin_both(
    login_desk: DeskService, set_clock: SetClock
) -> None:
    desk = login_desk
    alone = pins(desk, "before.json")
    desk.declare(
        f'key = "pkcs11:object={CHALLENGE}"\nstate = "current"\n'
        "accepted_until = 2026-11-16T12:00:00Z",
        f'key = "pkcs11:object={CHALLENGE}-2027"\nstate = "next"\n{TIMES}',
        purpose=CHALLENGE,
    )
    both = pins(desk, "overlap.json")
    wiring = Wiring(desk.settings())
    try:
        signers = wiring.range_signers(
            Purpose.LOGIN_CHALLENGE, LOGIN_CHALLENGE_RANGE, owner="login"
        )
        store = SqlChallengeStore(wiring.engine(Realm.LOGIN))
        origin = desk.settings().service.origin
        nonces = []
        for at in (NOW + HOUR - INSTANT, NOW + HOUR):
            added = refill_stock(
                store,
                signers.current(at),
                origin=origin,
                policy=wiring.stock_policy,
                at=at,
                stopwatch=iter(range(0, 1000, 60)).__next__,
            )
            assert added >= 1
            drawn = store.draw(origin, usable_until=at)
            while drawn is not None:
                nonces.append((at, drawn.nonce))
                drawn = store.draw(origin, usable_until=at)
    finally:
        wiring.close()
    set_clock.at = NOW + HOUR
    after_takeover = pins(desk, "after.json")
    kids = []
    for at, nonce in nonces:
        proof = challenge_proof.UnverifiedProof.parse(nonce)
        for known in (both, after_takeover):
            challenge_proof.verify(proof, origin, known.of(origin).keys, at)
        kids.append((at, proof.kid))
    old, new = (next(kid for at, kid in kids if at == when) for when in (nonces[0][0], NOW + HOUR))
    assert old != new
    assert {kid for at, kid in kids if at < NOW + HOUR} == {old}
    assert {kid for at, kid in kids if at >= NOW + HOUR} == {new}
    # An agent that never learned of the next key refuses what that signs.
    late = challenge_proof.UnverifiedProof.parse(nonces[-1][1])
    with pytest.raises(challenge_proof.ProofForeign):
        challenge_proof.verify(late, origin, alone.of(origin).keys, NOW + HOUR)
    set_clock.at = NOW + timedelta(days=1)
    assert len(pins(desk, "end.json").of(origin).keys) == 1


def test_agents_pin_no_third_key(login_desk: DeskService) -> None:
    login_desk.done("key", "create", CHALLENGE, "--label", f"{CHALLENGE}-2028")
    login_desk.declare(
        f'key = "pkcs11:object={CHALLENGE}"\nstate = "retired"\n'
        "accepted_until = 2026-11-16T12:00:00Z",
        f'key = "pkcs11:object={CHALLENGE}-2027"\nstate = "current"',
        f'key = "pkcs11:object={CHALLENGE}-2028"\nstate = "next"',
        purpose=CHALLENGE,
    )
    out = login_desk.folder / "origins.json"
    assert "agents pin two keys" in login_desk.refused("key", "origins", "--out", str(out))
    assert not out.exists()


LOG = "receipt-log"


@pytest.fixture
def receipts_desk(desk: DeskService, set_clock: SetClock) -> DeskService:
    """The token is the receipts zone's; an election was created before a second key was next."""
    text = desk.config.read_text().replace("[tokens.pki]", "[tokens.receipts]")
    desk.config.write_text(text)
    with opened_engine(desk.settings().database.ballots.url, Realm.BALLOTS) as engine:
        upgrade(engine, Realm.BALLOTS)
    for purpose in (LOG, f"{LOG}-ed25519"):
        desk.done("key", "create", purpose)
    desk.done("key", "create", LOG, "--label", f"{LOG}-b")
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    desk.folder.joinpath("system.pem").write_bytes(pem)
    create_election(desk, "early")
    return desk


def create_election(desk: DeskService, name: str) -> None:
    desk.done(
        *("election", "create", name, "--title", name, "--domain", "receipts.example"),
        *("--opens-at", "2026-11-15T08:00:00Z", "--closes-at", "2026-11-16T08:00:00Z"),
        *("--system-key", str(desk.folder / "system.pem")),
    )


def run_logs(desk: DeskService) -> tuple[dict[str, int], dict[str, str]]:
    """The worker's job, once, in a process that begins now."""
    wiring = Wiring(desk.settings())
    try:
        logs = wiring._receipt_logs()
        logs.run_once(at=clock.now())
        return logs.count_states(), dict(logs.halted)
    finally:
        wiring.close()


def test_a_log_key_follows_another_where_the_election_pinned_it(
    receipts_desk: DeskService,
) -> None:
    desk = receipts_desk
    old, new = f"pkcs11:object={LOG}", f"pkcs11:object={LOG}-b"
    desk.declare(f'key = "{old}"\nstate = "current"', f'key = "{new}"\nstate = "next"', purpose=LOG)
    create_election(desk, "overlapping")
    states, halted = run_logs(desk)
    assert (states["open"], halted) == (2, {})
    desk.declare(
        f'key = "{old}"\nstate = "retired"\naccepted_until = 2026-12-01T00:00:00Z',
        f'key = "{new}"\nstate = "current"',
        purpose=LOG,
    )
    states, halted = run_logs(desk)
    # The early one pinned the old key alone: its log waits for a person, and nothing is signed.
    assert (states["open"], halted) == (1, {"early": "KeysChanged"})
