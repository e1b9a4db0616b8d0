"""RSASSA-PSS in answers, lists and delegates: one choice of parameters for each hash, no other."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
from asn1crypto import core, crl
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from ocsp.certificate import read_certificate
from ocsp.chain import validate_path
from ocsp.crl.errors import CrlAlgorithmRefused, CrlSignatureInvalid
from ocsp.crl.rules import CrlRules, StatusOrder
from ocsp.crl.source import CrlSource, ReadLists
from ocsp.errors import AnswerAlgorithmRefused, AnswerSignatureInvalid, ResponderNotAuthorised
from ocsp.responder_authority import check_delegate
from ocsp.status import CertificateStatus, Good, Unavailable
from tests.support.certificates import NOW, authority_spec, development_like_pki, issue, private_key
from tests.support.crls import CrlSpec, make_crl
from tests.support.lists import MemoryLists
from tests.support.ocsp_judging import PKI, PROFILE, judge, signed_by
from tests.support.trust import trust_store

KEY = private_key("delegate pss", "rsa2048")
DELEGATE = PKI.delegate_with(key=KEY)
ANSWER = signed_by(DELEGATE)
OIDS = {"sha1": "1.3.14.3.2.26"} | {
    f"sha{size}": f"2.16.840.1.101.3.4.2.{number}"
    for number, size in ((1, 256), (2, 384), (3, 512), (4, 224))
}
HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha1": hashes.SHA1(),  # noqa: S303 -- to be refused
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
NULL = b"\x05\x00"


def _tlv(tag: int, content: bytes) -> bytes:
    return bytes((tag, len(content))) + content


def _hash(name: str, parameters: bytes = NULL) -> bytes:
    return _tlv(0x30, core.ObjectIdentifier(OIDS[name]).dump() + parameters)


def identifier(
    name: str = "sha256",
    *,
    mask: str | None = None,
    mask_function: str = "1.2.840.113549.1.1.8",
    salt: int | None = None,
    outer: bytes = NULL,
    inner: bytes = NULL,
    more: bytes = b"",
) -> bytes:
    """An AlgorithmIdentifier as the parameters say, the right one without any."""
    generator = core.ObjectIdentifier(mask_function).dump() + _hash(mask or name, inner)
    size = HASHES[name].digest_size if salt is None else salt
    # DER leaves the defaults out: SHA-1, MGF1 with SHA-1, a salt of 20 octets.
    parameters = (
        b"" if name == "sha1" else _tlv(0xA0, _hash(name, outer)),
        b"" if (mask or name) == "sha1" else _tlv(0xA1, _tlv(0x30, generator)),
        b"" if size == 20 else _tlv(0xA2, core.Integer(size).dump()),
        more,
    )
    return bare(_tlv(0x30, b"".join(parameters)))


def bare(parameters: bytes) -> bytes:
    return _tlv(0x30, core.ObjectIdentifier("1.2.840.113549.1.1.10").dump() + parameters)


def sign(
    message: bytes, name: str = "sha256", mask: str | None = None, salt: int | None = None
) -> bytes:
    assert isinstance(KEY, rsa.RSAPrivateKey)
    size = HASHES[name].digest_size if salt is None else salt
    pss = padding.PSS(padding.MGF1(HASHES[mask or name]), size)
    return KEY.sign(message, pss, HASHES[name])


# Each is signed as it says, so that only the choice is wrong.
WRONG: list[tuple[str, bytes, Callable[[bytes], bytes]]] = [
    ("sha-1", identifier("sha1"), partial(sign, name="sha1")),
    ("sha-224", identifier("sha224"), partial(sign, name="sha224")),
    ("another hash in the mask", identifier(mask="sha1"), partial(sign, mask="sha1")),
    ("a longer hash in the mask", identifier(mask="sha512"), partial(sign, mask="sha512")),
    ("a short salt", identifier(salt=20), partial(sign, salt=20)),
    ("no salt", identifier(salt=0), partial(sign, salt=0)),
    ("a long salt", identifier(salt=64), partial(sign, salt=64)),
    ("another mask", identifier(mask_function="1.2.840.113549.1.1.7"), sign),
    ("the default trailer spelt out", identifier(more=_tlv(0xA3, b"\x02\x01\x01")), sign),
    ("another trailer", identifier(more=_tlv(0xA3, b"\x02\x01\x02")), sign),
]


@pytest.mark.parametrize(("algorithm", "by"), [row[1:] for row in WRONG], ids=[r[0] for r in WRONG])
def test_other_parameters_are_refused(algorithm: bytes, by: Callable[[bytes], bytes]) -> None:
    profile = replace(PROFILE, answer_hashes=frozenset(HASHES))
    with pytest.raises(AnswerAlgorithmRefused):
        judge(replace(ANSWER, sign=(algorithm, by)), profile=profile)


def test_a_hash_that_the_profile_does_not_name_is_refused() -> None:
    strict = replace(PROFILE, answer_hashes=frozenset({"sha256"}))
    spec = replace(ANSWER, sign=(identifier("sha384"), partial(sign, name="sha384")))
    with pytest.raises(AnswerAlgorithmRefused):
        judge(spec, profile=strict)


def test_a_signature_of_another_scheme_or_message_is_refused() -> None:
    assert isinstance(KEY, rsa.RSAPrivateKey)
    old_way = partial(KEY.sign, padding=padding.PKCS1v15(), algorithm=hashes.SHA256())
    for spec in (
        replace(ANSWER, sign=(identifier(), old_way)),
        replace(ANSWER, sign=(identifier(), partial(sign, salt=20))),
        replace(ANSWER, sign=(identifier(), partial(sign, mask="sha384"))),
        replace(ANSWER, sign=(identifier(), sign), spoil_signature=True),
    ):
        with pytest.raises(AnswerSignatureInvalid):
            judge(spec)


def test_an_elliptic_key_has_no_such_signature() -> None:
    with pytest.raises(AnswerAlgorithmRefused, match="another type of key"):
        judge(replace(signed_by(PKI.delegate), sign=(identifier(), sign)))


@pytest.mark.parametrize("inner", [NULL, b""])
@pytest.mark.parametrize("outer", [NULL, b""])
@pytest.mark.parametrize("name", ["sha256", "sha384", "sha512"])
def test_the_one_choice_for_each_hash_is_accepted(name: str, outer: bytes, inner: bytes) -> None:
    algorithm = identifier(name, outer=outer, inner=inner)
    assert isinstance(judge(replace(ANSWER, sign=(algorithm, partial(sign, name=name)))), Good)


# --- lists and delegates -----------------------------------------------------------------------

URL = "http://ca.example/citizen.crl"


def by_list(algorithm: bytes, by: Callable[[bytes], bytes]) -> CertificateStatus:
    """What a list says that the citizen CA, here with an RSA key, signed so."""
    pki = development_like_pki()
    ca = issue(replace(authority_spec("Test Citizen CA", pki.national_ca), key=KEY))
    card = pki.leaf_with(issuer=ca)
    store = trust_store(
        pki,
        certificates=(ca.der,),
        order=StatusOrder.CRL_ONLY,
        responders=(),
        crl=CrlRules((URL,)),
        answer_hashes=frozenset(HASHES),
    )
    lists = MemoryLists()
    whole = crl.CertificateList.load(make_crl(CrlSpec(issuer=ca)))
    lists.put(URL, _signed_anew(whole["tbs_cert_list"], algorithm, by), NOW)
    return CrlSource(ReadLists(lists), store).status_of(validate_path(card.der, store, NOW), NOW)


def _signed_anew(
    tbs: crl.TbsCertList | asn1_x509.TbsCertificate,
    algorithm: bytes,
    by: Callable[[bytes], bytes],
) -> bytes:
    old = tbs["signature"].dump()
    content = tbs.contents.replace(old, algorithm, 1)
    signed = core.Sequence(contents=content).dump()
    signature = core.OctetBitString(by(signed)).dump()
    return bytes(core.Sequence(contents=signed + algorithm + signature).dump())


@pytest.mark.parametrize(("algorithm", "by"), [row[1:] for row in WRONG], ids=[r[0] for r in WRONG])
def test_a_list_with_other_parameters_says_nothing(
    algorithm: bytes, by: Callable[[bytes], bytes]
) -> None:
    found = by_list(algorithm, by)
    assert isinstance(found, Unavailable)
    assert isinstance(found.cause, CrlAlgorithmRefused)


def test_a_list_that_somebody_else_signed_so_says_nothing() -> None:
    found = by_list(identifier(), lambda message: sign(message + b"\x00"))
    assert isinstance(found, Unavailable)
    assert isinstance(found.cause, CrlSignatureInvalid)


@pytest.mark.parametrize("name", ["sha256", "sha384", "sha512"])
def test_a_list_with_the_one_choice_is_believed(name: str) -> None:
    assert isinstance(by_list(identifier(name), partial(sign, name=name)), Good)


def check_delegate_signed(algorithm: bytes, by: Callable[[bytes], bytes]) -> None:
    ca = issue(replace(authority_spec("Test Citizen CA", PKI.national_ca), key=KEY))
    whole = asn1_x509.Certificate.load(PKI.delegate_with(issuer=ca).der)
    der = _signed_anew(whole["tbs_certificate"], algorithm, by)
    check_delegate(
        read_certificate(der),
        issuer=read_certificate(ca.der),
        allowed_hashes=frozenset(HASHES),
        at=NOW,
    )


@pytest.mark.parametrize(("algorithm", "by"), [row[1:] for row in WRONG], ids=[r[0] for r in WRONG])
def test_a_delegate_with_other_parameters_is_refused(
    algorithm: bytes, by: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(ResponderNotAuthorised, match="algorithm that is not allowed"):
        check_delegate_signed(algorithm, by)


def test_a_delegate_with_the_one_choice_is_one() -> None:
    check_delegate_signed(identifier(), sign)
    with pytest.raises(ResponderNotAuthorised, match="not issued by this CA's key"):
        check_delegate_signed(identifier(), lambda message: sign(message + b"\x00"))
