"""A two-person ceremony: recorded by the commands, signed by key files, checked offline."""

import json
import os
import pwd
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from pkcs11_bridge.encoding import der_to_raw
from signer.ceremony import with_step
from signer.statement import (
    UnverifiedStatement,
    draft_statement,
    protected_header,
    read_statement,
    signing_input,
    with_signature,
)
from tests.support.certificates import (
    NOW,
    CertificateSpec,
    Issued,
    authority_spec,
    distinguished_name,
    issue,
    key_usage,
    private_key,
)
from tests.support.key_desk import PURPOSE, DeskService

CA = issue(authority_spec("Persons' CA", None))
PASSPHRASE = "correct horse"
BEGIN = ("--person", "Bat Bold", "operator", "--person", "Saraa Dorj", "witness")


class Persons:
    """Two persons' key files, and the record in a folder."""

    def __init__(self, desk: DeskService) -> None:
        self.desk = desk
        self.record = desk.folder / "ceremony.json"
        self.authority = self._write("ca.pem", CA.certificate.public_bytes(Encoding.PEM))

    def _write(self, name: str, content: bytes) -> Path:
        path = self.desk.folder / f"persons-{name}"
        path.write_bytes(content)
        return path

    def sign(self, name: str, passphrase: str = PASSPHRASE, *, plain: bool = False) -> str:
        person = _person(name)
        encryption = NoEncryption() if plain else BestAvailableEncryption(PASSPHRASE.encode())
        pem = person.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        command = ["ceremony", "sign", str(self.record)]
        command += ["--key-file", str(self._write(f"{name}.key", pem))]
        command += ["--certificate", str(self._write(f"{name}.cer", person.der))]
        result = self.desk.run(*command, input_=f"{passphrase}\n")
        assert result.exit_code in {0, 1}, result.output
        assert passphrase not in result.output
        return "" if result.exit_code == 0 else result.stderr

    def sign_as_is(self, statement: UnverifiedStatement, name: str) -> str:
        """Sign by the command, which refuses, and then without it."""
        self.record.write_bytes(statement.serialise())
        refusal = self.sign(name)
        person = _person(name)
        assert isinstance(person.key, ec.EllipticCurvePrivateKey)
        protected = protected_header(person.certificate, at=NOW)
        der = person.key.sign(signing_input(statement, protected), ec.ECDSA(hashes.SHA256()))
        signed = with_signature(statement, protected, der_to_raw(der, 32))
        self.record.write_bytes(signed.serialise())
        return refusal

    def verify(self) -> str:
        command = ("ceremony", "verify", str(self.record), "--authority", str(self.authority))
        return self.desk.refused(*command)


def _person(name: str) -> Issued:
    return issue(
        CertificateSpec(
            subject=distinguished_name(name),
            key=private_key(name),
            issuer=CA,
            basic_constraints=x509.BasicConstraints(ca=False, path_length=None),
            key_usage=key_usage("content_commitment"),
        )
    )


@pytest.fixture
def persons(desk: DeskService, monkeypatch: pytest.MonkeyPatch) -> Persons:
    # They would outlive the test.
    monkeypatch.setattr("webapi.cli.ceremony.forbid_core_dumps", lambda: None)
    monkeypatch.setattr("webapi.cli.ceremony.end_in_order", lambda: None)
    gathered = Persons(desk)
    begun = desk.run("ceremony", "begin", str(gathered.record), *BEGIN)
    assert begun.exit_code == 0, begun.output
    return gathered


def create(desk: DeskService, record: Path) -> tuple[str, ...]:
    return ("key", "create", PURPOSE, "--record", str(record))


def test_a_record_is_not_begun_twice_nor_by_one(desk: DeskService, persons: Persons) -> None:
    assert "File exists" in desk.refused("ceremony", "begin", str(persons.record), *BEGIN)
    other = str(desk.folder / "other.json")
    assert "at least 2" in desk.refused("ceremony", "begin", other, *BEGIN[:3])


def test_a_step_that_could_not_be_recorded_is_not_done(desk: DeskService) -> None:
    record = desk.folder / "ceremony.json"
    record.write_text("{}")
    assert "statement" in desk.refused(*create(desk, record))
    assert desk.run("key", "list", "--json").stdout.count('"on_token": true') == 0


def test_a_ceremony_of_two_persons(
    desk: DeskService, persons: Persons, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "nothing was done" in persons.sign("Bat Bold")
    monkeypatch.setenv("LOGNAME", "somebody else")
    desk.done(*create(desk, persons.record))
    out = desk.folder / "request.pem"
    desk.done(
        "key",
        "csr",
        PURPOSE,
        "--subject",
        "CN=OCSP",
        "--out",
        str(out),
        "--record",
        str(persons.record),
    )
    shown = desk.run("ceremony", "show", str(persons.record)).stdout
    assert "SHA-256 of what is signed: " in shown
    assert "takes no part" in persons.sign("Tuya")
    assert "no key that this passphrase opens" in persons.sign("Bat Bold", "wrong")
    assert "no key that this passphrase opens" in persons.sign("Bat Bold", plain=True)
    assert persons.sign("Bat Bold") == ""
    assert "signed already" in persons.sign("Bat Bold")
    assert "has ended" in desk.refused(*create(desk, persons.record))
    assert "not signed by Saraa Dorj" in persons.verify()
    assert persons.sign("Saraa Dorj") == ""
    verify = ("ceremony", "verify", str(persons.record), "--authority", str(persons.authority))
    told = desk.done(*verify)
    assert [signer["name"] for signer in told["signers"]] == ["Bat Bold", "Saraa Dorj"]
    made, requested = told["statement"]["steps"]
    assert made["command"] == f"tamga key create {PURPOSE} --label {PURPOSE}"
    assert made["account"] == pwd.getpwuid(os.getuid()).pw_name
    assert made["key"]["never_extractable"] is True
    assert made["token"]["serial"]
    assert made["key"]["public_key_sha256"] == requested["key"]["public_key_sha256"]
    assert len(requested["request_sha256"]) == 64
    assert "good signature: CN=Bat Bold" in desk.run(*verify).stdout
    # A record that was changed afterwards is nobody's.
    text = json.loads(persons.record.read_text())
    text["signatures"].reverse()
    text["payload"] = text["payload"].replace(text["payload"][40:44], "AAAA", 1)
    persons.record.write_text(json.dumps(text))
    assert persons.verify()


def test_what_comes_while_a_person_types_is_not_lost(
    desk: DeskService, persons: Persons, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.done(*create(desk, persons.record))

    def ask(other: Callable[[], None]) -> None:
        def typed() -> str:
            other()
            return PASSPHRASE

        monkeypatch.setattr("webapi.cli.ceremony._ask_unseen", lambda _: typed)

    def add_step() -> None:
        record = with_step(read_statement(persons.record.read_bytes()), {}, at=NOW)
        persons.record.write_bytes(record.serialise())

    def let_saraa_sign() -> None:
        ask(lambda: None)
        assert persons.sign("Saraa Dorj") == ""

    ask(add_step)
    assert "was changed while you signed" in persons.sign("Bat Bold")
    steps = read_statement(persons.record.read_bytes()).unverified_members["steps"]
    assert isinstance(steps, list)
    assert len(steps) == 2
    ask(let_saraa_sign)
    assert persons.sign("Bat Bold") == ""
    assert len(read_statement(persons.record.read_bytes()).signatures) == 2


def test_one_persons_statement_about_a_key(desk: DeskService, persons: Persons) -> None:
    desk.done("key", "create", PURPOSE)
    persons.record.unlink()
    assert desk.run("key", "attest", PURPOSE, "--out", str(persons.record)).exit_code == 0
    assert "0 person(s) signed" in persons.verify()
    assert persons.sign("Tuya") == ""
    told = desk.done(
        "ceremony", "verify", str(persons.record), "--authority", str(persons.authority)
    )
    assert told["statement"]["key"]["purpose"] == PURPOSE


@pytest.mark.parametrize("kind", ["mn.tamga-ceremony/2", None])
def test_a_record_of_another_format_is_not_good_by_one_signature(
    desk: DeskService, persons: Persons, kind: str | None
) -> None:
    desk.done(*create(desk, persons.record))
    begun = read_statement(persons.record.read_bytes()).unverified_members
    other = draft_statement({**begun, "format": kind})
    assert "neither a ceremony's record" in persons.sign_as_is(other, "Bat Bold")
    assert "neither a ceremony's record" in persons.verify()


def test_a_person_signs_in_one_way(desk: DeskService, persons: Persons) -> None:
    assert desk.run("ceremony", "sign", str(persons.record)).exit_code == 2
