"""Names that are the same name, and names that are not."""

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from ocsp.names import comparable, prepare, same_name


def name(*values: str, kind: _ASN1Type = _ASN1Type.UTF8String) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, v, kind) for v in values])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Test CA", "test ca"),
        ("Test CA", "  Test \t  CA "),
        ("Монгол Үндэсний CA", "МОНГОЛ ҮНДЭСНИЙ ca"),
        ("Өнөр", "өнөР"),
        ("Straße", "STRASSE"),
        ("Test\u00a0CA", "Test CA"),
        ("Te\u00adst CA", "Test CA"),  # a soft hyphen
        ("Ångström", "A\u030angstro\u0308m"),
        ("\ufb01n", "fin"),  # a ligature
    ],
)
def test_the_same_name(one: str, other: str) -> None:
    assert same_name(name(one), name(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Test CA", "TestCA"),
        ("Test CA", "Test C\u0410"),  # a Cyrillic look-alike
        ("Үндэсний", "Ундэсний"),
        ("Test\ue000", "test\ue000"),  # private use: equal to itself alone
        ("Test\ufffd", "test\ufffd"),
    ],
)
def test_another_name(one: str, other: str) -> None:
    assert not same_name(name(one), name(other))
    assert same_name(name(one), name(one))


def test_the_type_of_string_does_not_count() -> None:
    assert same_name(name("Test CA"), name("Test CA", kind=_ASN1Type.PrintableString))


def test_the_order_of_parts_counts_and_that_within_a_part_does_not() -> None:
    assert not same_name(name("a", "b"), name("b", "a"))
    common = x509.NameAttribute(NameOID.COMMON_NAME, "a")
    country = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "b")
    one = x509.Name([x509.RelativeDistinguishedName([common, country])])
    other = x509.Name([x509.RelativeDistinguishedName([country, common])])
    assert comparable(one) == comparable(other)
    assert not same_name(one, x509.Name([common, country]))


def test_bytes_equal_no_text() -> None:
    bits = x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"\x01", _ASN1Type.BitString)
    text = x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, "bytes 01")
    assert not same_name(x509.Name([bits]), x509.Name([text]))


@given(st.text(max_size=30))
def test_any_text_is_prepared_or_left_alone(text: str) -> None:
    prepared = prepare(text)
    assert prepared is None or prepared == " ".join(prepared.split(" ")).strip(" ")
