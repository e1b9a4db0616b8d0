"""Intermediates that come with a token, and issuers that write their names in two ways."""

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from ocsp.chain import MAX_OFFERED, validate_path
from ocsp.config import TrustStore
from ocsp.errors import CertificateNotTrusted, ConfigurationInvalid
from tests.support.certificates import (
    NOW,
    Issued,
    authority_spec,
    development_like_pki,
    issue,
    private_key,
)
from tests.support.trust import citizen_profile

PKI = development_like_pki()
GAP = TrustStore(roots=(PKI.root.der,), intermediates=(), issuers=(citizen_profile(PKI),))
"""Nothing between the root and the issuing CA."""


def test_without_the_missing_intermediate_there_is_no_path() -> None:
    with pytest.raises(CertificateNotTrusted):
        validate_path(PKI.leaf.der, GAP, NOW)


def test_an_offered_intermediate_closes_the_gap() -> None:
    chain = validate_path(
        PKI.leaf.der, replace(GAP), NOW, unverified_intermediates=[b"rubbish", PKI.national_ca.der]
    )
    assert chain.certificates[2] == PKI.national_ca.certificate


def test_only_the_first_few_that_are_offered_are_looked_at() -> None:
    offered = [b"rubbish"] * MAX_OFFERED + [PKI.national_ca.der]
    with pytest.raises(CertificateNotTrusted):
        validate_path(PKI.leaf.der, replace(GAP), NOW, unverified_intermediates=offered)


def test_an_offered_root_is_no_root() -> None:
    root = issue(authority_spec("Stranger Root", None))
    national = issue(authority_spec("Test National Issuing CA", root))
    offered = [national.der, root.der]
    with pytest.raises(CertificateNotTrusted):
        validate_path(PKI.leaf.der, replace(GAP), NOW, unverified_intermediates=offered)


def test_an_offered_issuer_speaks_for_no_profile_but_its_own() -> None:
    spec = authority_spec("Test Citizen CA", PKI.national_ca)
    other = issue(replace(spec, key=private_key("another key of that name"), serial=5))
    leaf = issue(replace(PKI.leaf_spec, issuer=other))
    offered = [other.der, PKI.national_ca.der]
    with pytest.raises(CertificateNotTrusted, match="profile"):
        validate_path(leaf.der, replace(GAP), NOW, unverified_intermediates=offered)


def test_another_certificate_of_the_issuer_itself_keeps_its_profile() -> None:
    """The same subject and key, certified anew by a CA that the store knows."""
    other = issue(replace(authority_spec("Test Citizen CA", PKI.root), serial=6))
    chain = validate_path(PKI.leaf.der, replace(GAP), NOW, unverified_intermediates=[other.der])
    assert chain.certificates[1] == other.certificate
    assert chain.profile is GAP.issuers[0]


def test_an_issuer_below_several_roots_is_followed_to_the_one_of_its_profile() -> None:
    other = issue(authority_spec("Test Other Root", None))
    crossed = issue(replace(authority_spec("Test National Issuing CA", other), serial=7))
    for anchor, national in ((PKI.root, PKI.national_ca), (other, crossed)):
        for intermediates in ((PKI.national_ca, crossed), (crossed, PKI.national_ca)):
            profile = citizen_profile(PKI, anchors=frozenset({anchor.der}))
            store = TrustStore(
                roots=(PKI.root.der, other.der),
                intermediates=tuple(one.der for one in intermediates),
                issuers=(profile,),
            )
            for _ in range(2):  # the second time the issuer is known
                path = validate_path(PKI.leaf.der, store, NOW).path
                assert [member.der for member in path[2:]] == [national.der, anchor.der]


def test_an_offered_intermediate_below_another_root_spoils_nobodys_path() -> None:
    other = issue(authority_spec("Test Other Root", None))
    crossed = issue(replace(authority_spec("Test National Issuing CA", other), serial=7))
    store = TrustStore(
        roots=(PKI.root.der, other.der),
        intermediates=(),
        issuers=(citizen_profile(PKI, anchors=frozenset({PKI.root.der})),),
    )
    with pytest.raises(CertificateNotTrusted, match="not the issuer's"):
        validate_path(PKI.leaf.der, store, NOW, unverified_intermediates=[crossed.der])
    chain = validate_path(
        PKI.leaf.der, store, NOW, unverified_intermediates=[crossed.der, PKI.national_ca.der]
    )
    assert chain.path[-1].der == PKI.root.der


def _named(text: str, kind: _ASN1Type) -> Issued:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text, kind)])
    return issue(replace(authority_spec("Named CA", PKI.root), subject=name))


def test_a_certificate_that_writes_its_issuers_name_in_another_way_has_a_chain() -> None:
    issuer = _named("Named CA", _ASN1Type.PrintableString)
    store = TrustStore(
        roots=(PKI.root.der,),
        intermediates=(),
        issuers=(citizen_profile(PKI, certificates=(issuer.der,)),),
    )
    leaf = issue(replace(PKI.leaf_spec, issuer=_named("NAMED  ca", _ASN1Type.UTF8String)))
    for _ in range(2):  # the second time the issuer is known
        chain = validate_path(leaf.der, store, NOW)
        assert chain.certificates[1] == issuer.certificate


def test_two_profiles_for_one_name_are_refused_however_it_is_written() -> None:
    one, other = (
        _named("Named CA", _ASN1Type.PrintableString),
        _named("named ca", _ASN1Type.UTF8String),
    )
    profiles = (
        citizen_profile(PKI, certificates=(one.der,)),
        citizen_profile(PKI, name="other", certificates=(other.der,)),
    )
    with pytest.raises(ConfigurationInvalid, match="two profiles"):
        TrustStore(roots=(PKI.root.der,), intermediates=(), issuers=profiles)
