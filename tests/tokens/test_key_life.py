"""`tamga key` on a real token: what is refused, and one key's way from its making to its end."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pkcs11
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11 import Attribute, KeyType, ObjectClass

from pkcs11_bridge.errors import KeyRetiredOnToken, MechanismUnsupported
from pkcs11_bridge.key_attributes import read_key
from pkcs11_bridge.keyring import open_key
from pkcs11_bridge.mechanisms import P256_PARAMETERS
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.uri import Pkcs11Uri
from signer.payload import Purpose
from tests.support.certificates import NOW
from tests.support.key_desk import PKI, PURPOSE, DeskService
from webapi.storage.engine import opened_engine
from webapi.storage.realm import Realm
from webapi.wiring import Wiring

SUBJECT = "CN=OCSP of the test,O=Tamga Test,C=MN"


@contextmanager
def raw_session(desk: DeskService) -> Iterator[pkcs11.Session]:
    """Behind the service's back."""
    with TokenSessions(desk.token) as sessions, sessions.writing_session() as session:
        yield session


def make_key(desk: DeskService, label: str, **private: bool) -> None:
    with raw_session(desk) as session:
        session.generate_keypair(
            KeyType.EC,
            None,
            id=label.encode(),
            label=label,
            store=True,
            public_template={Attribute.EC_PARAMS: P256_PARAMETERS},
            private_template={Attribute[name]: value for name, value in private.items()},
        )


def ask(desk: DeskService, out: Path, *more: str) -> list[str]:
    return ["key", "csr", PURPOSE, "--subject", SUBJECT, "--out", str(out), *more]


def put_into_service(desk: DeskService) -> None:
    """Its first key is made, certified and current."""
    made = desk.run("key", "create", PURPOSE)
    assert made.exit_code == 0, made.output
    certificate = desk.certified(desk.public_key(made.stdout))
    desk.done("key", "import-cert", PURPOSE, str(certificate))


def test_a_key_that_can_leave_the_token_is_listed_as_refused(desk: DeskService) -> None:
    make_key(desk, PURPOSE, SENSITIVE=True, EXTRACTABLE=True)
    result = desk.run("key", "list")
    assert result.exit_code == 1
    assert "REFUSED by the service" in result.stdout
    (told,) = json.loads(desk.run("key", "list", "--json").stdout)
    assert (told["extractable"], told["never_extractable"], told["state"]) == (
        True,
        False,
        "current",
    )
    assert "EXTRACTABLE" in desk.refused(*ask(desk, desk.folder / "request.pem"))
    assert not (desk.folder / "request.pem").exists()


def test_a_key_that_the_settings_name_and_the_token_lacks_is_missing(desk: DeskService) -> None:
    result = desk.run("key", "list")
    assert result.exit_code == 1
    assert "missing: [tokens.pki] has no such key" in result.stdout


def test_no_key_takes_anothers_label(desk: DeskService) -> None:
    desk.done("key", "create", PURPOSE)
    assert "exists already" in desk.refused("key", "create", PURPOSE)
    for label in ("receipt-log", "ocsp-citizen-ca2", "ocsp", "x"):
        assert "is called" in desk.refused("key", "create", PURPOSE, "--label", label)
    assert len(desk.done("key", "list")) == 1


def test_a_zone_without_a_token_makes_no_key(desk: DeskService) -> None:
    assert "[tokens.receipts]" in desk.refused("key", "create", "receipt-log")


def test_a_new_key_says_where_it_was_made_and_for_whom(desk: DeskService) -> None:
    made = desk.done("key", "create", PURPOSE)
    flags = {name: made[name] for name in ("sensitive", "always_sensitive", "never_extractable")}
    assert flags == dict.fromkeys(flags, True)
    assert (made["local"], made["extractable"], made["may_sign"]) == (True, False, True)
    assert (made["purpose"], made["zone"], made["state"]) == (PURPOSE, "pki", "current")
    assert made["for"] == "https://localhost:8443"
    assert made["uri"].startswith(f"pkcs11:token={desk.token.uri.token};object={PURPOSE};id=%")
    assert made["certificate"]["subject"] is None


def test_a_purpose_without_certificates_asks_for_none(desk: DeskService) -> None:
    out = str(desk.folder / "request.pem")
    message = desk.refused("key", "csr", "audit", "--subject", SUBJECT, "--out", out)
    assert "needs no certificate" in message


def test_a_request_names_somebody_and_overwrites_nothing(desk: DeskService) -> None:
    desk.done("key", "create", PURPOSE)
    out = desk.folder / "request.pem"
    command = ["key", "csr", PURPOSE, "--out", str(out), "--subject"]
    assert desk.run(*command, "no name").exit_code == 2
    assert "names somebody" in desk.refused(*command, "")
    assert not out.exists()
    out.write_text("precious")
    assert "File exists" in desk.refused(*command, SUBJECT)
    assert out.read_text() == "precious"


def test_a_key_in_service_asks_for_no_certificate(desk: DeskService) -> None:
    put_into_service(desk)
    assert "is in service" in desk.refused(*ask(desk, desk.folder / "request.pem"))


def test_a_key_whose_certificate_cannot_be_read_may_be_in_service(desk: DeskService) -> None:
    put_into_service(desk)
    desk.delegate.write_bytes(b"-----BEGIN nothing")
    assert "cannot be read" in desk.refused(*ask(desk, desk.folder / "request.pem"))
    assert "UNREADABLE" in desk.run("key", "list").stdout


def test_a_request_is_signed_in_the_token_under_a_permit_of_its_own(desk: DeskService) -> None:
    desk.done("key", "create", PURPOSE)
    told = desk.done(*ask(desk, desk.folder / "request.pem"))
    request = x509.load_pem_x509_csr((desk.folder / "request.pem").read_bytes())
    assert request.is_signature_valid
    assert request.subject.rfc4514_string() == SUBJECT
    assert told["key"]["public_key_sha256"]
    with opened_engine(desk.settings().database.pki.url, Realm.PKI) as engine:
        query = "SELECT purpose, owner, spent_at FROM permits"
        with engine.begin() as connection:
            ((purpose, owner, spent_at),) = connection.exec_driver_sql(query).all()
    assert (purpose, owner) == (PURPOSE, "certification-request")
    assert spent_at is not None


def test_rsa_keys_are_for_answers_and_lists_alone(desk: DeskService) -> None:
    made = desk.run("key", "create", PURPOSE, "--algorithm", "rsa-2048")
    assert made.exit_code == 0, made.output
    desk.done(*ask(desk, desk.folder / "request.pem"))
    request = x509.load_pem_x509_csr((desk.folder / "request.pem").read_bytes())
    assert request.is_signature_valid
    assert request.public_key() == desk.public_key(made.stdout)
    desk.config.write_text(desk.config.read_text().replace("[tokens.pki]", "[tokens.login]"))
    command = ("key", "create", "login-challenge", "--algorithm")
    assert "rsa-2048" in desk.refused(*command, "rsa-2048")
    assert desk.run(*command, "rsa-1024").exit_code == 2


def test_a_certificate_of_another_key_is_refused(desk: DeskService) -> None:
    desk.done("key", "create", PURPOSE)
    other = desk.folder / "other.cer"
    other.write_bytes(PKI.delegate.der)
    assert "not of the key" in desk.refused("key", "import-cert", PURPOSE, str(other))
    assert not desk.delegate.exists()


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"ocsp_no_check": False}, "nocheck"),
        ({"extended_key_usage": ()}, "ExtendedKeyUsage"),
        ({"issuer": PKI.national_ca}, "issued"),
        ({"not_after": NOW - timedelta(seconds=1)}, "expired"),
        ({"not_before": NOW + timedelta(seconds=1)}, "not"),
    ],
)
def test_a_certificate_that_answers_could_not_be_signed_by_is_refused(
    desk: DeskService, changes: dict[str, object], fact: str
) -> None:
    made = desk.run("key", "create", PURPOSE)
    certificate = desk.certified(desk.public_key(made.stdout), **changes)
    assert fact in desk.refused("key", "import-cert", PURPOSE, str(certificate))
    assert not desk.delegate.exists()


def test_a_certificate_goes_where_the_service_reads_it_and_onto_the_token(
    desk: DeskService,
) -> None:
    made = desk.run("key", "create", PURPOSE)
    certificate = desk.certified(desk.public_key(made.stdout))
    command = ("key", "import-cert", PURPOSE, str(certificate), "--onto-token")
    told = desk.done(*command)
    assert desk.done(*command) == told  # nothing was left to do
    assert told["certificate"]["is_of_key"]
    assert told["certificate"]["not_after"] == (NOW + timedelta(days=7)).isoformat()
    assert desk.delegate.read_bytes() == certificate.read_bytes()
    with raw_session(desk) as session:
        (stored,) = session.get_objects({Attribute.CLASS: ObjectClass.CERTIFICATE})
        assert stored[Attribute.VALUE] == certificate.read_bytes()
        assert stored[Attribute.LABEL] == PURPOSE


def test_a_successors_certificate_never_replaces_that_of_the_key_in_service(
    desk: DeskService,
) -> None:
    put_into_service(desk)
    before = desk.delegate.read_bytes()
    made = desk.run("key", "create", PURPOSE, "--label", f"{PURPOSE}-2027")
    assert f"[[keys.{PURPOSE}]]" in made.stdout
    public_key = desk.public_key(made.stdout.partition("Next,")[0])
    certificate = str(desk.certified(public_key))
    current = f'key = "pkcs11:object={PURPOSE}"\nstate = "current"'
    uri = f"pkcs11:object={PURPOSE}-2027"
    command = ("key", "import-cert", PURPOSE, certificate, "--key", uri)
    desk.declare(current, f'key = "{uri}"\nstate = "next"')
    assert "`certificate`" in desk.refused(*command)
    desk.declare(current, f'key = "{uri}"\nstate = "next"\ncertificate = "delegate.cer"')
    assert "of another key" in desk.refused(*command)
    assert desk.delegate.read_bytes() == before
    desk.declare(current, f'key = "{uri}"\nstate = "next"\ncertificate = "next.pem"')
    desk.done(*command)
    assert "-----BEGIN CERTIFICATE" in (desk.folder / "next.pem").read_text()
    assert [key["state"] for key in desk.done("key", "list")] == ["current", "next"]
    assert "2 keys" in desk.refused("key", "attest", PURPOSE, "--out", str(desk.folder / "a"))


def test_a_key_of_another_purpose_is_not_used(desk: DeskService) -> None:
    desk.done("key", "create", PURPOSE)
    make_key(desk, "stranger", SENSITIVE=True, EXTRACTABLE=False)
    out = desk.folder / "request.pem"
    assert "not a key for" in desk.refused(*ask(desk, out, "--key", "pkcs11:object=stranger"))
    assert [key["purpose"] for key in desk.done("key", "list")] == [PURPOSE, None]


def test_a_key_that_signs_is_not_retired(desk: DeskService) -> None:
    put_into_service(desk)
    command = ("key", "retire", PURPOSE, "--key", f"pkcs11:object={PURPOSE}", "--yes")
    assert "declare another key current" in desk.refused(*command)
    assert "is next" in _refused_while_next(desk, command)


def _refused_while_next(desk: DeskService, command: tuple[str, ...]) -> str:
    desk.run("key", "create", PURPOSE, "--label", f"{PURPOSE}-b")
    desk.declare(
        f'key = "pkcs11:object={PURPOSE}-b"\nstate = "current"',
        f'key = "pkcs11:object={PURPOSE}"\nstate = "next"',
    )
    return desk.refused(*command)


def test_a_retired_key_stays_on_the_token_and_signs_nothing(desk: DeskService) -> None:
    put_into_service(desk)
    desk.done("key", "create", PURPOSE, "--label", f"{PURPOSE}-b")
    old = f"pkcs11:object={PURPOSE}"
    desk.declare(
        f'key = "pkcs11:object={PURPOSE}-b"\nstate = "current"',
        f'key = "{old}"\nstate = "retired"\naccepted_until = 2026-12-01T00:00:00Z',
    )
    command = ("key", "retire", PURPOSE, "--key", old)
    assert desk.run(*command, input_="n\n").exit_code == 1
    with TokenSessions(desk.token) as sessions:
        assert read_key(sessions, Pkcs11Uri(object=PURPOSE)).may_sign is True
    retired = desk.done(*command, "--yes")
    assert (retired["state"], retired["may_sign"]) == ("retired", False)
    with TokenSessions(desk.token) as sessions:
        key = open_key(sessions, Pkcs11Uri(object=PURPOSE))
        with pytest.raises(MechanismUnsupported):
            key.sign_digest(bytes(32), "sha256")
    # Whoever declares it current again is refused before anything is signed.
    desk.declare(f'key = "{old}"\nstate = "current"')
    wiring = Wiring(desk.settings())
    try:
        with pytest.raises(KeyRetiredOnToken):
            wiring.keys.backends(Purpose.OCSP_CITIZEN_CA)
    finally:
        wiring.close()
    assert desk.run("key", "list").exit_code == 1


def test_a_retired_key_asks_for_no_certificate(desk: DeskService) -> None:
    desk.done("key", "create", PURPOSE)
    desk.done("key", "create", PURPOSE, "--label", f"{PURPOSE}-b")
    old = f"pkcs11:object={PURPOSE}"
    desk.declare(
        f'key = "pkcs11:object={PURPOSE}-b"\nstate = "current"',
        f'key = "{old}"\nstate = "retired"\naccepted_until = 2026-12-01T00:00:00Z',
    )
    out = desk.folder / "request.pem"
    assert "is retired" in desk.refused(*ask(desk, out, "--key", old))


def test_what_the_token_says_is_written_down(desk: DeskService) -> None:
    desk.done("key", "create", PURPOSE)
    out = desk.folder / "statement.json"
    result = desk.run("key", "attest", PURPOSE, "--out", str(out))
    assert result.exit_code == 0, result.output
    document = json.loads(out.read_text())
    assert document["signatures"] == []
    padded = document["payload"] + "=" * (-len(document["payload"]) % 4)
    stated = json.loads(base64.urlsafe_b64decode(padded))
    assert stated["key"]["never_extractable"] is True
    assert stated["token"]["manufacturer"] == "SoftHSM project"
    assert stated["token"]["firmware"]
    assert "signed nothing" in stated["meaning"]
    der = base64.b64decode(stated["key"]["public_key"])
    assert isinstance(load_der_public_key(der), ec.EllipticCurvePublicKey)


def test_a_pin_is_asked_for_at_a_terminal_alone(desk: DeskService) -> None:
    text = desk.config.read_text()
    start = text.index("pin_file")
    line = text[start : text.index("\n", start)]
    desk.config.write_text(text.replace(line, 'pin_source = "prompt"'))
    assert "nobody is at a terminal" in desk.refused("key", "list")
