"""[[keys.<purpose>]]: the keys of a purpose while one follows another."""

from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field

from signer.errors import RotationWrong
from signer.payload import Purpose
from signer.rotation import KeyState, KeyTerm, Rotation
from webapi.settings_base import ResolvedPath, Section


class KeySettings(Section):
    """One key."""

    key: str = Field(
        pattern=r"^pkcs11:[^?\s]+$",
        max_length=1024,
        description="the key's PKCS#11 URI (RFC 7512), as `tamga key list` shows it",
    )
    state: KeyState = Field(description="next, current or retired")
    takes_over_at: AwareDatetime | None = Field(
        default=None, description="of a next key: when it becomes the current one by itself"
    )
    accepted_until: AwareDatetime | None = Field(
        default=None, description="of a retired key: until when what it signed is accepted"
    )
    certificate: ResolvedPath | None = Field(
        default=None, description="the key's own certificate, DER or PEM, where it needs one"
    )

    @property
    def term(self) -> KeyTerm:
        """The key's place in its rotation; raises RotationWrong."""
        return KeyTerm(self.key, self.state, self.takes_over_at, self.accepted_until)


def _check_rotation(keys: tuple[KeySettings, ...]) -> tuple[KeySettings, ...]:
    try:
        rotation_of(keys)
    except RotationWrong as error:
        raise ValueError(str(error)) from None
    return keys


KeysOfPurpose = Annotated[
    tuple[KeySettings, ...], Field(min_length=1), AfterValidator(_check_rotation)
]
KeySections = dict[Purpose, KeysOfPurpose]
"""By purpose; a purpose without a section has the one key that bears its name."""


def rotation_of(keys: tuple[KeySettings, ...]) -> Rotation:
    """The rotation that a purpose's sections declare; raises RotationWrong."""
    return Rotation(tuple(key.term for key in keys))
