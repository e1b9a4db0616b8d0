"""Key ceremonies: what was done with which token before which persons, and their signatures. Pure.

A ceremony is begun with the names of at least two persons, each as their certificate has it.
Every command that is run for it adds a step. The first signature ends it: nothing is added any
more, and each named person signs once, with their own card or key.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from signer.errors import CeremonyWrong, SignaturesMissing, StatementMalformed
from signer.statement import (
    MAX_SIGNATURES,
    SignedStatement,
    UnverifiedStatement,
    common_name,
    draft_statement,
    verify_statement,
)

FORMAT = "mn.tamga-ceremony/1"
LEAST_PERSONS = 2
MAX_STEPS = 500
_MEMBERS = frozenset({"begun_at", "format", "persons", "service", "software", "steps"})


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who takes part.

    Attributes:
        name: the common name of the certificate that they will sign with.
        role: what they are there for.
    """

    name: str
    role: str

    def __post_init__(self) -> None:
        if not self.name.strip() or not self.role.strip():
            raise CeremonyWrong("a person has a name and a role")


def begin_ceremony(
    persons: Sequence[Person], *, service: str, software: str, at: datetime
) -> UnverifiedStatement:
    """A ceremony without steps.

    Args:
        persons: at least two, of different names.
        service: for whom: its origin.
        software: the program and its version.
        at: now, aware UTC.

    Raises:
        CeremonyWrong: fewer persons, a name twice, or more than a record has room for.
    """
    if len(persons) > MAX_SIGNATURES:
        raise CeremonyWrong(f"at most {MAX_SIGNATURES} persons sign a record")
    if len({person.name for person in persons}) < len(persons) or len(persons) < LEAST_PERSONS:
        raise CeremonyWrong(f"a ceremony has at least {LEAST_PERSONS} persons of different names")
    return draft_statement(
        {
            "begun_at": _stated(at),
            "format": FORMAT,
            "persons": [{"name": person.name, "role": person.role} for person in persons],
            "service": service,
            "software": software,
            "steps": [],
        }
    )


def require_open(ceremony: UnverifiedStatement) -> None:
    """Refuse a record to which nothing can be added.

    Raises:
        CeremonyWrong: somebody has signed already, or there are too many steps.
        StatementMalformed: it is no ceremony.
    """
    if ceremony.signatures:
        raise CeremonyWrong("the ceremony was signed: it has ended")
    if len(_list(_checked(ceremony)["steps"])) >= MAX_STEPS:
        raise CeremonyWrong("the ceremony has too many steps")


def with_step(
    ceremony: UnverifiedStatement, step: Mapping[str, object], *, at: datetime
) -> UnverifiedStatement:
    """The ceremony with one step more.

    Args:
        ceremony: not yet signed by anybody.
        step: what was done: JSON members; `number` and `at` are added.
        at: now, aware UTC.

    Raises:
        CeremonyWrong: somebody has signed already, or there are too many steps.
        StatementMalformed: it is no ceremony.
    """
    require_open(ceremony)
    members = _checked(ceremony)
    steps = _list(members["steps"])
    numbered = {**step, "at": _stated(at), "number": len(steps) + 1}
    return draft_statement({**members, "steps": [*steps, numbered]})


def require_participant(ceremony: UnverifiedStatement, certificate: x509.Certificate) -> None:
    """Refuse the signature of somebody who takes no part, who signed, or to whom nothing was shown.

    Raises:
        CeremonyWrong: with the reason.
        StatementMalformed, SignerNotTrusted: no ceremony; no name in the certificate.
    """
    members = _checked(ceremony)
    name = common_name(certificate)
    if name not in _names(members):
        raise CeremonyWrong(f"{name!r}, whom the certificate names, takes no part in the ceremony")
    if name in {common_name(one.certificate) for one in ceremony.signatures}:
        raise CeremonyWrong(f"{name!r} has signed already")
    if not _list(members["steps"]):
        raise CeremonyWrong("nothing was done in this ceremony")


def verify_ceremony(
    unverified: UnverifiedStatement, authorities: Sequence[x509.Certificate]
) -> SignedStatement:
    """Verify a ceremony's record.

    1. It is a ceremony, with at least two persons and a step.
    2. Its signatures are good, as `verify_statement` has it.
    3. Everybody who took part signed, and nobody else.
    4. Nobody signed before the last step.

    Args:
        unverified: as it was read.
        authorities: of the persons' certificates.

    Raises:
        StatementMalformed: 1.
        StatementSignatureInvalid, SignerNotTrusted: 2.
        SignaturesMissing, CeremonyWrong: 3 and 4.
    """
    # 1.
    members = _checked(unverified)
    names = _names(members)
    steps = _list(members["steps"])
    if not steps or len(names) < LEAST_PERSONS or len(set(names)) < len(names):
        raise StatementMalformed("a ceremony has persons of different names, and steps")
    # 2.
    signed = verify_statement(unverified, authorities, least=1)
    # 3.
    signers = {signer.name for signer in signed.signers}
    if missing := set(names) - signers:
        raise SignaturesMissing(f"not signed by {', '.join(sorted(missing))}")
    if strangers := signers - set(names):
        raise CeremonyWrong(f"signed by {', '.join(sorted(strangers))}, who took no part")
    # 4.
    last = _object(steps[-1]).get("at")
    if any(not isinstance(last, str) or _stated(one.signed_at) < last for one in signed.signers):
        raise CeremonyWrong("somebody signed before the last step")
    return signed


def _checked(ceremony: UnverifiedStatement) -> Mapping[str, object]:
    members = ceremony.unverified_members
    if members.keys() != _MEMBERS or members["format"] != FORMAT:
        raise StatementMalformed("the statement is not the record of a ceremony")
    return members


def _names(members: Mapping[str, object]) -> list[str]:
    return [str(_object(person).get("name")) for person in _list(members["persons"])]


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise StatementMalformed("persons and steps are lists")
    return value


def _object(value: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise StatementMalformed("persons and steps are objects")
    return value


def _stated(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
