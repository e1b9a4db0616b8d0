"""Lists that must not be read; then what a readable one says."""

from dataclasses import replace
from datetime import timedelta

import pytest
from asn1crypto import crl as asn1_crl
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st

from ocsp.crl.errors import CrlExtensionUnknown, CrlMalformed
from ocsp.crl.reading import read_crl
from ocsp.errors import CrlRefused
from tests.support.certificates import NOW, development_like_pki
from tests.support.crls import CrlSpec, EntrySpec, edited_crl, make_crl, scope

PKI = development_like_pki()
SPEC = CrlSpec(issuer=PKI.citizen_ca, entries=(EntrySpec(5),))
SCOPED = make_crl(replace(SPEC, scope=scope(only_contains_user_certs=True)))
UNKNOWN = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"), True)


def test_a_list_without_next_update_is_refused() -> None:
    def edit(tbs: asn1_crl.TbsCertList) -> None:
        del tbs["next_update"]

    with pytest.raises(CrlMalformed, match="nextUpdate"):
        read_crl(edited_crl(make_crl(SPEC), PKI.citizen_ca, edit))


def test_an_extension_that_occurs_twice_is_refused() -> None:
    def edit(tbs: asn1_crl.TbsCertList) -> None:
        extensions = tbs["crl_extensions"]
        extensions.append(extensions[0].copy())

    with pytest.raises(CrlMalformed, match="twice"):
        read_crl(edited_crl(make_crl(SPEC), PKI.citizen_ca, edit))


def test_an_unknown_critical_extension_is_refused_wherever_it_is() -> None:
    with pytest.raises(CrlExtensionUnknown) as of_list:
        read_crl(make_crl(replace(SPEC, more_extensions=(UNKNOWN,))))
    assert of_list.value.oid == "1.2.3.4"
    entries = (EntrySpec(5), EntrySpec(6, more_extensions=(UNKNOWN,)))
    with pytest.raises(CrlExtensionUnknown) as of_entry:
        read_crl(make_crl(replace(SPEC, entries=entries)))
    assert of_entry.value.oid == "1.2.3.4"


def test_an_unknown_extension_that_is_not_critical_is_ignored() -> None:
    entries = (EntrySpec(5, more_extensions=((UNKNOWN[0], False),)),)
    spec = replace(SPEC, entries=entries, more_extensions=((UNKNOWN[0], False),))
    assert 5 in read_crl(make_crl(spec)).entries


def test_remove_from_crl_in_a_complete_list_is_refused() -> None:
    entries = (EntrySpec(5, reason=x509.ReasonFlags.remove_from_crl),)
    with pytest.raises(CrlMalformed, match="removeFromCRL"):
        read_crl(make_crl(replace(SPEC, entries=entries)))
    assert read_crl(make_crl(replace(SPEC, entries=entries, delta_base=6))).is_delta


def test_a_certificate_issuer_in_a_direct_list_is_refused() -> None:
    entries = (EntrySpec(5, certificate_issuer=PKI.root.certificate.subject),)
    with pytest.raises(CrlMalformed, match="certificateIssuer"):
        read_crl(make_crl(replace(SPEC, entries=entries)))


def test_rubbish_among_the_entries_is_refused() -> None:
    der = bytearray(make_crl(SPEC))
    date = der.index(b"\x17\x0d" + (NOW - timedelta(days=2)).strftime("%y%m%d%H%M%SZ").encode())
    der[date + 2 : date + 4] = b"xx"
    with pytest.raises(CrlMalformed):
        read_crl(bytes(der))


def test_the_issuer_of_an_entry_holds_for_those_that_follow() -> None:
    other = PKI.national_ca.certificate.subject
    entries = (EntrySpec(4), EntrySpec(5, certificate_issuer=other), EntrySpec(6))
    read = read_crl(make_crl(replace(SPEC, entries=entries, scope=scope(indirect_crl=True))))
    issuers = [read.entries[serial][0].issuer for serial in (4, 5, 6)]
    assert issuers[0] is None
    assert issuers[1] is not None
    assert issuers[1] == issuers[2]


def test_a_list_is_read() -> None:
    entries = (EntrySpec(5, reason=x509.ReasonFlags.key_compromise), EntrySpec(6))
    read = read_crl(make_crl(replace(SPEC, entries=entries)))
    assert (read.number, read.base_number, read.scope) == (7, None, None)
    assert (read.this_update, read.next_update) == (SPEC.this_update, SPEC.next_update)
    assert read.entries[5][0].reason is x509.ReasonFlags.key_compromise
    assert read.entries[6][0].revoked_at == NOW - timedelta(days=2)


@given(st.binary(max_size=400))
def test_random_bytes_are_refused_by_type(data: bytes) -> None:
    with pytest.raises(CrlRefused):
        read_crl(data)


@given(st.data())
def test_a_damaged_list_is_read_or_refused_by_type(data: st.DataObject) -> None:
    der = bytearray(SCOPED)
    at = data.draw(st.integers(0, len(der) - 1))
    der[at] ^= data.draw(st.integers(1, 255))
    try:
        read_crl(bytes(der))
    except CrlRefused:
        return


def test_a_name_that_the_library_warns_of_is_refused_where_warnings_are_errors() -> None:
    der = bytearray(SCOPED)
    at = der.index(b"MN")
    # The country as a BMPString: one letter of two octets.
    assert der[at - 2 : at] == b"\x13\x02"
    der[at - 2] = 0x1E
    with pytest.raises(CrlRefused):
        read_crl(bytes(der))
