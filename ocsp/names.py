"""Distinguished names compared as RFC 5280 section 7.1 says, not byte by byte.

A CA may write its name as PrintableString in its own certificate and as UTF8String in those below,
in other letter case or with other spaces. What is compared is each value prepared by LDAP
StringPrep (RFC 4518 section 2). The order of the RDNs counts, that of attributes within one not.
"""

import stringprep
import unicodedata

from cryptography import x509

ComparableName = tuple[tuple[tuple[str, str], ...], ...]
"""RDNs in order, the attributes of each sorted: dotted OID and prepared value."""

_TO_SPACE = frozenset("\t\n\v\f\r\x85")
_CATEGORIES_TO_SPACE = frozenset({"Zs", "Zl", "Zp"})
_CATEGORIES_TO_NOTHING = frozenset({"Cc", "Cf"})
_MARKS_TO_NOTHING = frozenset("\u034f\u1806\u180b\u180c\u180d\ufffc") | {
    chr(code) for code in range(0xFE00, 0xFE10)
}
_PROHIBITED = (
    stringprep.in_table_c3,  # private use
    stringprep.in_table_c4,  # no characters
    stringprep.in_table_c5,  # surrogates
    stringprep.in_table_c8,  # change display
)


def comparable(name: x509.Name) -> ComparableName:
    """The name in a form in which equal names are equal."""
    return tuple(tuple(sorted(_attribute(part) for part in rdn)) for rdn in name.rdns)


def same_name(one: x509.Name, other: x509.Name) -> bool:
    """Whether two names are equal (RFC 5280 section 7.1)."""
    return one == other or comparable(one) == comparable(other)


def _attribute(part: x509.NameAttribute[str | bytes]) -> tuple[str, str]:
    value = part.value
    if isinstance(value, bytes):
        # The mark in front keeps bytes apart from any text, which is prepared and has no NUL.
        return part.oid.dotted_string, f"\0bytes {value.hex()}"
    prepared = prepare(value)
    return part.oid.dotted_string, f"\0raw {value}" if prepared is None else prepared


def prepare(text: str) -> str | None:
    """A value prepared for comparison; None: it equals nothing but itself.

    The steps are those of RFC 4518 section 2. Of these, 2.1 (transcode) was the parser's, and 2.5
    does nothing.
    """
    # 2.2. Map: separators to a space, what is invisible to nothing; fold the case.
    mapped = "".join(map(_mapped, text))
    # 2.3. Normalise.
    normal = unicodedata.normalize("NFKC", mapped)
    # 2.4. Prohibit.
    if "\ufffd" in normal or any(table(c) for c in normal for table in _PROHIBITED):
        return None
    # 2.6. Insignificant spaces: none at the ends, one between words.
    return " ".join(word for word in normal.split(" ") if word)


def _mapped(character: str) -> str:
    if character in _TO_SPACE:
        return " "
    if character in _MARKS_TO_NOTHING:
        return ""
    category = unicodedata.category(character)
    if category in _CATEGORIES_TO_SPACE:
        return " "
    if category in _CATEGORIES_TO_NOTHING:
        return ""
    return stringprep.map_table_b2(character)
