"""How an issuer's certificates name their holders: a part of its profile."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from ocsp.errors import ConfigurationInvalid

_OID = re.compile(r"[0-2](\.(0|[1-9][0-9]*))+")


def require_oid(text: str) -> None:
    """Raise ConfigurationInvalid where a text is no dotted OID."""
    if not _OID.fullmatch(text):
        raise ConfigurationInvalid(f"{text!r} is no dotted OID")


@dataclass(frozen=True, slots=True)
class PersonAttribute:
    """Which subject attribute names the person.

    Attributes:
        oid: dotted OID of the attribute; 2.5.4.5 is serialNumber.
        pattern: regular expression that the whole value must match ("PNOMN-[0-9]{12}").
    """

    oid: str
    pattern: str

    def __post_init__(self) -> None:
        require_oid(self.oid)
        try:
            re.compile(self.pattern)
        except re.error as e:
            raise ConfigurationInvalid(f"person pattern {self.pattern!r} is no pattern") from e
        if re.fullmatch(self.pattern, ""):
            raise ConfigurationInvalid("the person pattern accepts an empty value")


@dataclass(frozen=True, slots=True)
class PersonRegister:
    """Who holds a certificate, by its serial number: for issuers whose subjects name no number.

    Attributes:
        people: serial number to the person's identifier.
        pattern: regular expression that each identifier must match whole.
    """

    people: Mapping[int, str] = field(repr=False, hash=False)
    pattern: str

    def __post_init__(self) -> None:
        # The same rules for the pattern, and none of the values may fall short of it.
        PersonAttribute("2.5.4.5", self.pattern)
        if not all(re.fullmatch(self.pattern, person) for person in self.people.values()):
            raise ConfigurationInvalid("a person of the register has another form")


class DisplayName(StrEnum):
    """What a person is greeted by."""

    COMMON_NAME = "commonName"
    """The commonName."""

    GIVEN_NAME_AND_SURNAME = "givenName surname"
    """Where the commonName holds a number, too."""
