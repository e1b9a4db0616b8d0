"""The data objects of the card (NIST SP 800-73-4 part 1, appendix A). Pure."""

from softhsm_config.virtual_card import tlv

CHUID_TAG = bytes.fromhex("5FC102")
CCC_TAG = bytes.fromhex("5FC107")
GUID_BYTES = 16

# FASC-N of a card outside the US government: agency 9999 (SP 800-73-4 part 1, section 3.1.2).
_NON_FEDERAL_FASC_N = bytes.fromhex("D4E739DA739CED39CE739D836858210842108421C84210C3EB")
_CARD_IDENTIFIER_PREFIX = bytes.fromhex("A000000116FF02")
_EMPTY_CCC_FIELDS = bytes.fromhex("F10121F20121F300F40100F50110F600F700FA00FB00FC00FD00FE00")


def certificate(der: bytes) -> bytes:
    """Wrap an uncompressed X.509 certificate (table 10: 70, CertInfo 71, error code FE)."""
    return tlv.encode(0x53, tlv.encode(0x70, der) + bytes.fromhex("710100FE00"))


def chuid(guid: bytes, expires: str) -> bytes:
    """Return the Card Holder Unique Identifier (table 9), unsigned.

    Args:
        guid: 16 bytes of the card's own.
        expires: Date as yyyymmdd.
    """
    fields = (
        tlv.encode(0x30, _NON_FEDERAL_FASC_N)
        + tlv.encode(0x34, guid)
        + tlv.encode(0x35, expires.encode("ascii"))
        + bytes.fromhex("3E00FE00")
    )
    return tlv.encode(0x53, fields)


def ccc(guid: bytes) -> bytes:
    """Return the Card Capability Container (table 8) with an identifier drawn from the GUID."""
    identifier = tlv.encode(0xF0, _CARD_IDENTIFIER_PREFIX + guid[:14])
    return tlv.encode(0x53, identifier + _EMPTY_CCC_FIELDS)
