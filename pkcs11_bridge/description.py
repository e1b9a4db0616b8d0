"""What a token says of itself."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pkcs11

from pkcs11_bridge import objects
from pkcs11_bridge.module import Module

_SOFTHSM_MANUFACTURER, _SOFTHSM_MODEL = "SoftHSM project", "SoftHSM"
"""What SoftHSM 2.6 writes into CK_TOKEN_INFO: its manufacturerID, and how its model begins."""


@dataclass(frozen=True, slots=True)
class TokenDescription:
    """Which token is really used, for people and for test reports."""

    module: Path
    library: str
    label: str
    serial: str
    model: str
    manufacturer: str
    process_id: int

    @classmethod
    def of(cls, token: pkcs11.Token, module: Module) -> Self:
        """What a token says of itself."""
        return cls(
            module=module.path,
            library=module.description,
            label=token.label,
            serial=objects.serial_of(token),
            model=token.model,
            manufacturer=token.manufacturer_id,
            process_id=module.process_id,
        )

    @property
    def is_software(self) -> bool:
        """A token known to be a program: SoftHSM, by what it says itself whatever loads it.

        False is no proof of hardware: a token is free to say what it likes.
        """
        return self.manufacturer == _SOFTHSM_MANUFACTURER or self.model.startswith(_SOFTHSM_MODEL)
