"""Certificates that must be refused by type, and the odd ones that must be read all the same."""

from dataclasses import replace
from datetime import timedelta
from functools import partial

import pytest
from asn1crypto import core
from asn1crypto import x509 as asn1_x509
from asn1crypto.keys import PublicKeyInfo
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st

from ocsp.certificate import (
    check_key_strength,
    check_validity,
    read_certificate,
)
from ocsp.errors import (
    CertificateExpired,
    CertificateMalformed,
    CertificateNotYetValid,
    CertificateRefused,
    KeyTooWeak,
    PathMember,
)
from tests.support.certificates import (
    EXPLICIT_CA_FALSE,
    NOW,
    authority_spec,
    development_like_pki,
    distinguished_name,
    edited,
    issue,
    private_key,
)

PKI = development_like_pki()
P256 = bytes.fromhex("06082a8648ce3d030107")
EC_KEY = bytes.fromhex("06072a8648ce3d0201")
# id-RSASSA-PSS as a key's algorithm, which binds it with and without parameters.
PSS = bytes.fromhex("300b06092a864886f70d01010a")
PSS_SHA256 = bytes.fromhex(
    "304106092a864886f70d01010a3034a00f300d06096086480165030402010500"
    "a11c301a06092a864886f70d010108300d06096086480165030402010500a203020120"
)
ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")


def _edited(edit: object) -> bytes:
    return edited(PKI.leaf, PKI.citizen_ca, edit)  # type: ignore[arg-type]  # a lambda in each case


def _with_extension(oid: str, value: bytes, times: int = 1) -> bytes:
    def edit(tbs: asn1_x509.TbsCertificate) -> None:
        for _ in range(times):
            # Built from raw bytes: a constructor would parse, and refuse, the value.
            extension = asn1_x509.Extension(
                {"extn_id": oid, "critical": False, "extn_value": core.ParsableOctetString(value)}
            )
            tbs["extensions"].append(extension)

    return _edited(edit)


@pytest.mark.parametrize("serial", [0, -1, 1 << 160])
def test_a_serial_number_out_of_range_is_malformed(serial: int) -> None:
    der = _edited(lambda tbs: tbs.__setitem__("serial_number", serial))
    with pytest.raises(CertificateMalformed):
        read_certificate(der)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_a_serial_number_of_zero_is_malformed_where_warnings_are_no_errors() -> None:
    der = _edited(lambda tbs: tbs.__setitem__("serial_number", 0))
    with pytest.raises(CertificateMalformed, match="positive"):
        read_certificate(der)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_an_old_version_is_malformed(version: str) -> None:
    der = _edited(lambda tbs: tbs.__setitem__("version", version))
    with pytest.raises(CertificateMalformed):
        read_certificate(der)


def test_an_extension_that_occurs_twice_is_malformed() -> None:
    with pytest.raises(CertificateMalformed, match="twice"):
        read_certificate(_with_extension("1.2.3.4", b"\x05\x00", times=2))


def test_an_unreadable_extension_is_malformed() -> None:
    issued = PKI.leaf_with(
        key_usage=None,
        more_extensions=((x509.UnrecognizedExtension(x509.KeyUsage.oid, b"\xff\xff"), True),),
    )
    with pytest.raises(CertificateMalformed, match="cannot be read"):
        read_certificate(issued.der)


def test_null_parameters_are_malformed() -> None:
    der = PKI.leaf.der.replace(ECDSA_SHA256, bytes.fromhex("300a06082a8648ce3d0403020500"))
    with pytest.raises(CertificateMalformed):
        read_certificate(der)


@pytest.mark.parametrize("der", [b"", b"\x30", b"not a certificate", PKI.leaf.der + b"\x00"])
def test_bytes_that_are_no_certificate_are_malformed(der: bytes) -> None:
    with pytest.raises(CertificateMalformed):
        read_certificate(der)


def test_an_oversized_certificate_is_refused_unread() -> None:
    with pytest.raises(CertificateMalformed, match="larger"):
        read_certificate(b"\x30" * 20_000)


def test_an_unknown_curve_is_too_weak() -> None:
    der = PKI.leaf.der.replace(P256, P256[:-1] + b"\x09")
    with pytest.raises(KeyTooWeak):
        read_certificate(der)


def test_an_unknown_key_algorithm_is_too_weak() -> None:
    der = PKI.leaf.der.replace(EC_KEY, EC_KEY[:-1] + b"\x09")
    with pytest.raises(KeyTooWeak):
        read_certificate(der)


def _with_key_algorithm(algorithm: bytes, tbs: asn1_x509.TbsCertificate) -> None:
    bits = tbs["subject_public_key_info"]["public_key"].dump()
    whole = core.Sequence(contents=algorithm + bits).dump()
    tbs["subject_public_key_info"] = PublicKeyInfo.load(whole)


@pytest.mark.parametrize("algorithm", [PSS, PSS_SHA256], ids=["bare", "with parameters"])
def test_a_key_that_is_restricted_to_pss_is_refused(algorithm: bytes) -> None:
    key = private_key("any rsa", "rsa2048")
    for issued, issuer in (
        (PKI.leaf_with(key=key), PKI.citizen_ca),
        (PKI.delegate_with(key=key), PKI.citizen_ca),
        (
            issue(replace(authority_spec("Test Citizen CA", PKI.national_ca), key=key)),
            PKI.national_ca,
        ),
    ):
        read_certificate(issued.der)
        der = edited(issued, issuer, partial(_with_key_algorithm, algorithm))
        restricted = x509.load_der_x509_certificate(der)
        restricted.verify_directly_issued_by(issuer.certificate)
        assert isinstance(restricted.public_key(), rsa.RSAPublicKey)
        with pytest.raises(KeyTooWeak, match="restricted to RSASSA-PSS"):
            read_certificate(der)


def test_a_point_off_the_curve_is_malformed() -> None:
    key = PKI.leaf.key.public_key().public_numbers()
    point = key.x.to_bytes(32)  # type: ignore[union-attr]  # a P-256 key
    with pytest.raises(CertificateMalformed, match="public key"):
        read_certificate(PKI.leaf.der.replace(point, b"\x01" * 32))


def test_another_type_of_key_is_too_weak() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(distinguished_name("Ed"))
        .issuer_name(distinguished_name("Ed"))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
        .sign(PKI.citizen_ca.key, hashes.SHA256())
    )
    from cryptography.hazmat.primitives.serialization import Encoding

    with pytest.raises(KeyTooWeak, match="Ed25519"):
        read_certificate(certificate.public_bytes(Encoding.DER))


def test_an_explicit_default_of_basic_constraints_is_read() -> None:
    issued = PKI.leaf_with(basic_constraints=None, more_extensions=((EXPLICIT_CA_FALSE, True),))
    with pytest.raises(ValueError, match="EncodedDefault"):
        _ = issued.certificate.extensions
    read = read_certificate(issued.der)
    assert not read.is_ca
    assert read.der == issued.der
    assert read.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature


def test_an_explicit_default_beside_an_unreadable_extension_is_malformed() -> None:
    bad = x509.UnrecognizedExtension(x509.KeyUsage.oid, b"\xff\xff")
    issued = PKI.leaf_with(
        basic_constraints=None,
        key_usage=None,
        more_extensions=((EXPLICIT_CA_FALSE, True), (bad, True)),
    )
    with pytest.raises(CertificateMalformed):
        read_certificate(issued.der)


def test_an_explicit_default_beside_an_unsupported_name_is_malformed() -> None:
    x400 = x509.UnrecognizedExtension(
        x509.SubjectAlternativeName.oid, bytes.fromhex("3004a3023000")
    )
    issued = PKI.leaf_with(
        basic_constraints=None, more_extensions=((EXPLICIT_CA_FALSE, True), (x400, False))
    )
    with pytest.raises(CertificateMalformed, match="cannot be read"):
        read_certificate(issued.der)


def test_a_certificate_without_basic_constraints_is_no_ca() -> None:
    assert not read_certificate(PKI.leaf_with(basic_constraints=None).der).is_ca
    assert read_certificate(PKI.citizen_ca.der).is_ca


def test_an_authority_is_its_name_and_its_key() -> None:
    mine = read_certificate(PKI.citizen_ca.der)
    other = issue(replace(PKI.leaf_spec, subject=PKI.citizen_ca.certificate.subject))
    assert read_certificate(other.der).authority[0] == mine.authority[0]
    assert read_certificate(other.der).authority != mine.authority
    assert len(mine.sha256) == 64


@pytest.mark.parametrize("exponent", [3, 65_535])
def test_a_small_rsa_exponent_is_too_weak(exponent: int) -> None:
    key = rsa.RSAPublicNumbers(exponent, (1 << 2047) + 1).public_key()
    with pytest.raises(KeyTooWeak, match="exponent"):
        check_key_strength(key, min_rsa_bits=2048, allowed_curves=frozenset())


def test_a_key_is_judged_by_the_floor_given() -> None:
    curve = private_key("any").public_key()
    modulus = private_key("any rsa", "rsa2048").public_key()
    weak = private_key("weak rsa", "rsa1024").public_key()
    check_key_strength(curve, min_rsa_bits=2048, allowed_curves=frozenset({"secp256r1"}))
    check_key_strength(modulus, min_rsa_bits=2048, allowed_curves=frozenset())
    with pytest.raises(KeyTooWeak, match="secp256r1"):
        check_key_strength(curve, min_rsa_bits=2048, allowed_curves=frozenset({"secp384r1"}))
    with pytest.raises(KeyTooWeak, match="1024 bits"):
        check_key_strength(weak, min_rsa_bits=2048, allowed_curves=frozenset())


def test_both_ends_of_the_validity_are_inside() -> None:
    certificate = PKI.leaf.certificate
    first, last = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    check_validity(certificate, PathMember.USER, first)
    check_validity(certificate, PathMember.USER, last)
    with pytest.raises(CertificateNotYetValid) as early:
        check_validity(certificate, PathMember.USER, first - timedelta(microseconds=1))
    assert early.value.not_before == first
    with pytest.raises(CertificateExpired) as late:
        check_validity(certificate, PathMember.USER, last + timedelta(microseconds=1))
    assert (late.value.not_after, late.value.member) == (last, PathMember.USER)


@given(st.binary(max_size=600))
def test_random_bytes_raise_our_errors_only(data: bytes) -> None:
    with pytest.raises(CertificateRefused):
        read_certificate(data)


@given(st.integers(0, len(PKI.leaf.der) - 1), st.binary(min_size=1, max_size=4))
def test_a_damaged_certificate_is_read_or_refused_by_type(place: int, junk: bytes) -> None:
    der = PKI.leaf.der[:place] + junk + PKI.leaf.der[place + len(junk) :]
    try:
        read_certificate(der)
    except CertificateRefused:
        return
