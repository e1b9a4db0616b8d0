"""Statements that persons sign: what is refused, and what two signatures prove."""

import base64
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

from pkcs11_bridge.encoding import der_to_raw
from signer.ceremony import (
    Person,
    begin_ceremony,
    require_open,
    require_participant,
    verify_ceremony,
    with_step,
)
from signer.errors import (
    CeremonyWrong,
    SignaturesMissing,
    SignerNotTrusted,
    StatementMalformed,
    StatementSignatureInvalid,
)
from signer.statement import (
    SignedStatement,
    UnverifiedStatement,
    draft_statement,
    protected_header,
    read_statement,
    signing_input,
    verify_statement,
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

CA = issue(authority_spec("Persons' CA", None))
OTHER_CA = issue(authority_spec("Another CA", None))
END_ENTITY = x509.BasicConstraints(ca=False, path_length=None)


def person_spec(name: str, issuer: Issued | None = CA, kind: Any = "p256") -> CertificateSpec:
    return CertificateSpec(
        subject=distinguished_name(name),
        key=private_key(name, kind),
        issuer=issuer,
        basic_constraints=END_ENTITY,
        key_usage=key_usage("content_commitment"),
    )


BAT = issue(person_spec("Bat Bold"))
SARAA = issue(person_spec("Saraa Dorj", kind="rsa2048"))
STATEMENT = draft_statement({"format": "test/1", "what": "Нүүдэл", "count": 2, "no": None})


def signed_by(statement: UnverifiedStatement, person: Issued, at: Any = NOW) -> UnverifiedStatement:
    protected = protected_header(person.certificate, at=at)
    message = signing_input(statement, protected)
    if isinstance(person.key, rsa.RSAPrivateKey):
        signature = person.key.sign(message, padding.PKCS1v15(), hashes.SHA256())
    else:
        signature = der_to_raw(person.key.sign(message, ec.ECDSA(hashes.SHA256())), 32)
    return with_signature(statement, protected, signature)


BOTH = signed_by(signed_by(STATEMENT, BAT), SARAA)


def changed(statement: UnverifiedStatement, **members: object) -> UnverifiedStatement:
    """Other content under the signatures that are there."""
    other = draft_statement({**statement.unverified_members, **members})
    return replace(other, signatures=statement.signatures)


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"[]",
        b'{"payload": "e30"}',
        b'{"payload": "e30", "signatures": {}}',
        b'{"payload": "e30", "signatures": [], "more": 1}',
        b'{"payload": "e30=", "signatures": []}',
        b'{"payload": "e3", "signatures": []}',
        b'{"payload": "e31", "signatures": []}',
        b'{"payload": "W10", "signatures": []}',
        b'{"payload": 1, "signatures": []}',
        # {"b":1, "a":1}: not in the one form
        b'{"payload": "eyJiIjoxLCAiYSI6MX0", "signatures": []}',
        b'{"payload": "e30", "signatures": [{"protected": "e30"}]}',
        b'{"payload": "e30", "signatures": [{"protected": "e30", "signature": ""}]}',
        b'{"payload": "e30", "signatures": [1]}',
        b" " * 1_000_001,
    ],
)
def test_what_is_no_statement_is_refused(file: bytes) -> None:
    with pytest.raises(StatementMalformed):
        read_statement(file)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("alg", "none"),
        ("alg", "RS256"),
        ("typ", "JWT"),
        ("x5c", []),
        ("x5c", ["AAAA"]),
        ("x5c", None),
        ("signed_at", "yesterday"),
        ("crit", []),
    ],
)
def test_a_header_of_another_kind_is_refused(member: str, value: object) -> None:
    header = protected_header(BAT.certificate, at=NOW)
    members = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
    text = json.dumps({**members, member: value}, sort_keys=True).encode()
    protected = base64.urlsafe_b64encode(text).rstrip(b"=").decode()
    document = {
        "payload": STATEMENT.payload,
        "signatures": [{"protected": protected, "signature": "AAAA"}],
    }
    with pytest.raises(StatementMalformed):
        read_statement(json.dumps(document).encode())


@pytest.mark.parametrize("kind", ["p384", "rsa1024"])
def test_keys_of_other_kinds_do_not_sign(kind: str) -> None:
    person = issue(person_spec(f"Weak {kind}", kind=kind))
    with pytest.raises(SignerNotTrusted, match="P-256"):
        protected_header(person.certificate, at=NOW)


@pytest.mark.parametrize(("person", "other"), [(BAT, SARAA), (SARAA, BAT)])
def test_a_changed_statement_is_refused(person: Issued, other: Issued) -> None:
    statement = changed(signed_by(STATEMENT, person), count=3)
    with pytest.raises(StatementSignatureInvalid):
        verify_statement(statement, [CA.certificate], least=1)
    with pytest.raises(StatementSignatureInvalid):
        verify_statement(signed_by(statement, other), [CA.certificate], least=1)


@pytest.mark.parametrize("signature", [b"", bytes(64), bytes(63), bytes(256)])
@pytest.mark.parametrize("person", [BAT, SARAA])
def test_a_wrong_signature_is_not_added(person: Issued, signature: bytes) -> None:
    with pytest.raises(StatementSignatureInvalid):
        with_signature(STATEMENT, protected_header(person.certificate, at=NOW), signature)


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"issuer": OTHER_CA}, "no given authority"),
        ({"issuer": None}, "no given authority"),
        ({"not_after": NOW - timedelta(seconds=1)}, "not in time"),
        ({"not_before": NOW + timedelta(seconds=1)}, "not in time"),
        ({"key_usage": key_usage("key_agreement")}, "not meant for signatures"),
        ({"basic_constraints": x509.BasicConstraints(ca=True, path_length=None)}, "no person's"),
        ({"subject": x509.Name([])}, "names one person"),
    ],
)
def test_a_signer_whom_nobody_vouches_for_is_refused(changes: dict[str, Any], fact: str) -> None:
    stranger = issue(replace(person_spec("Bat Bold"), **changes))
    with pytest.raises(SignerNotTrusted, match=fact):
        verify_statement(signed_by(STATEMENT, stranger), [CA.certificate], least=1)


def test_an_authority_that_was_not_in_time_vouches_for_nobody() -> None:
    late = replace(authority_spec("Persons' CA", None), not_before=NOW + timedelta(seconds=1))
    with pytest.raises(SignerNotTrusted, match="no given authority"):
        verify_statement(signed_by(STATEMENT, BAT), [issue(late).certificate], least=1)


def test_one_person_is_not_two() -> None:
    twice = signed_by(signed_by(STATEMENT, BAT), BAT, NOW + timedelta(hours=1))
    renamed = issue(replace(person_spec("Tuya"), key=BAT.key))
    other_key = issue(replace(person_spec("Bat Bold"), key=private_key("another")))
    for statement in (
        twice,
        signed_by(signed_by(STATEMENT, BAT), renamed),
        signed_by(signed_by(STATEMENT, BAT), other_key),
    ):
        with pytest.raises(SignerNotTrusted, match="signed twice"):
            verify_statement(statement, [CA.certificate], least=2)


def test_too_few_signatures_and_none_at_all_are_refused() -> None:
    for statement, least in ((STATEMENT, 1), (signed_by(STATEMENT, BAT), 2)):
        with pytest.raises(SignaturesMissing):
            verify_statement(statement, [CA.certificate], least=least)
    with pytest.raises(ValueError, match="proves nothing"):
        verify_statement(STATEMENT, [CA.certificate], least=0)
    with pytest.raises(TypeError):
        SignedStatement({}, ())


def test_two_persons_sign_and_anybody_verifies() -> None:
    read = read_statement(BOTH.serialise())
    assert read == BOTH
    signed = verify_statement(read, [OTHER_CA.certificate, CA.certificate], least=2)
    assert [signer.name for signer in signed.signers] == ["Bat Bold", "Saraa Dorj"]
    assert signed.members["what"] == "Нүүдэл"


def test_a_self_signed_certificate_vouches_for_itself_if_it_is_given() -> None:
    alone = issue(replace(person_spec("Bat Bold", None), basic_constraints=END_ENTITY))
    statement = signed_by(STATEMENT, alone)
    assert verify_statement(statement, [alone.certificate], least=1).signers[0].name == "Bat Bold"


@pytest.mark.parametrize(
    "own",
    [
        {"basic_constraints": END_ENTITY},
        {"basic_constraints": None},
        {
            "basic_constraints": x509.BasicConstraints(ca=True, path_length=None),
            "key_usage": key_usage("digital_signature"),
        },
    ],
)
def test_a_persons_own_certificate_vouches_for_nobody_else(own: dict[str, Any]) -> None:
    """Else one of two persons with self-signed certificates could sign for the other."""
    saraa = issue(person_spec("Saraa Dorj", None))
    bat = issue(replace(person_spec("Bat Bold", None), **own))
    forged = issue(replace(person_spec("Saraa Dorj", bat), key=private_key("in Bat's hands")))
    statement = signed_by(STATEMENT, forged)
    with pytest.raises(SignerNotTrusted, match="no given authority"):
        verify_statement(statement, [bat.certificate, saraa.certificate], least=1)


PERSONS = [Person("Bat Bold", "operator"), Person("Saraa Dorj", "witness")]
LATER = NOW + timedelta(minutes=5)


def ceremony(*persons: Person) -> UnverifiedStatement:
    begun = begin_ceremony(
        persons or PERSONS, service="https://a.example", software="tamga 1", at=NOW
    )
    return with_step(begun, {"command": "tamga key create audit"}, at=LATER)


@pytest.mark.parametrize("persons", [[], PERSONS[:1], [PERSONS[0], Person("Bat Bold", "witness")]])
def test_one_person_holds_no_ceremony(persons: list[Person]) -> None:
    with pytest.raises(CeremonyWrong, match="different names"):
        begin_ceremony(persons, service="https://a.example", software="tamga 1", at=NOW)
    with pytest.raises(CeremonyWrong):
        Person("", "witness")


def test_no_ceremony_is_begun_that_could_not_be_signed_by_all() -> None:
    persons = [Person(f"Person {number}", "witness") for number in range(9)]
    require_open(ceremony(*persons[:8]))
    with pytest.raises(CeremonyWrong, match="at most 8"):
        ceremony(*persons)


def test_nothing_is_added_to_a_signed_ceremony() -> None:
    signed = signed_by(ceremony(), BAT, LATER)
    for act in (require_open, lambda record: with_step(record, {}, at=LATER)):
        with pytest.raises(CeremonyWrong, match="has ended"):
            act(signed)
    with pytest.raises(StatementMalformed):
        require_open(STATEMENT)


def test_only_who_takes_part_signs_and_once() -> None:
    stranger = issue(person_spec("Tuya"))
    with pytest.raises(CeremonyWrong, match="takes no part"):
        require_participant(ceremony(), stranger.certificate)
    with pytest.raises(CeremonyWrong, match="signed already"):
        require_participant(signed_by(ceremony(), BAT, LATER), BAT.certificate)
    empty = begin_ceremony(PERSONS, service="https://a.example", software="tamga 1", at=NOW)
    with pytest.raises(CeremonyWrong, match="nothing was done"):
        require_participant(empty, BAT.certificate)
    require_participant(signed_by(ceremony(), BAT, LATER), SARAA.certificate)


def test_a_ceremony_is_signed_by_everybody_who_took_part_and_nobody_else() -> None:
    one = signed_by(ceremony(), BAT, LATER)
    with pytest.raises(SignaturesMissing, match="Saraa Dorj"):
        verify_ceremony(one, [CA.certificate])
    both = signed_by(one, SARAA, LATER)
    assert len(verify_ceremony(both, [CA.certificate]).signers) == 2
    third = signed_by(both, issue(person_spec("Tuya")), LATER)
    with pytest.raises(CeremonyWrong, match="Tuya"):
        verify_ceremony(third, [CA.certificate])
    early = signed_by(one, SARAA, LATER - timedelta(seconds=1))
    with pytest.raises(CeremonyWrong, match="before the last step"):
        verify_ceremony(early, [CA.certificate])


@pytest.mark.parametrize(
    "members",
    [
        {"persons": [{"name": "Bat Bold", "role": "operator"}]},
        {"persons": [{"name": "Bat Bold"}, {"name": "Bat Bold"}]},
        {"persons": "both"},
        {"persons": [1, 2]},
        {"steps": []},
        {"format": "mn.tamga-ceremony/2"},
        {"more": 1},
    ],
)
def test_what_is_no_ceremony_is_refused_whoever_signed_it(members: dict[str, object]) -> None:
    other = replace(changed(ceremony(), **members), signatures=())
    both = signed_by(signed_by(other, BAT, LATER), SARAA, LATER)
    with pytest.raises(StatementMalformed):
        verify_ceremony(both, [CA.certificate])


def test_steps_are_numbered_and_dated() -> None:
    record = with_step(ceremony(), {"command": "second"}, at=LATER)
    steps = record.unverified_members["steps"]
    assert isinstance(steps, list)
    assert [(step["number"], step["at"]) for step in steps] == [
        (1, "2026-11-15T12:05:00Z"),
        (2, "2026-11-15T12:05:00Z"),
    ]
