"""The four key slots of a PIV card (NIST SP 800-73-4 part 1, table 4b)."""

from enum import Enum


class PinRule(Enum):
    """When a key asks for the PIN."""

    ONCE = "verified since the card got power"
    ALWAYS = "verified immediately before"
    NEVER = "no PIN"


class Slot(Enum):
    """One key slot: key reference, data object of its certificate, PIN rule."""

    AUTHENTICATION = (0x9A, "5FC105", PinRule.ONCE)
    SIGNATURE = (0x9C, "5FC10A", PinRule.ALWAYS)
    KEY_MANAGEMENT = (0x9D, "5FC10B", PinRule.ONCE)
    CARD_AUTHENTICATION = (0x9E, "5FC101", PinRule.NEVER)

    @property
    def reference(self) -> int:
        """Key reference byte (P2 of GENERAL AUTHENTICATE)."""
        return self.value[0]

    @property
    def certificate_tag(self) -> bytes:
        """Three-byte tag of the certificate's data object."""
        return bytes.fromhex(self.value[1])

    @property
    def pin_rule(self) -> PinRule:
        """When the key asks for the PIN."""
        return self.value[2]

    @property
    def file_stem(self) -> str:
        """Name of the slot in a card image's files, for example `9a`."""
        return f"{self.reference:02x}"

    @staticmethod
    def of_reference(reference: int) -> "Slot | None":
        """Return the slot with this key reference, None if there is none."""
        return next((slot for slot in Slot if slot.reference == reference), None)
