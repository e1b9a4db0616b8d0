"""Paths that must be refused, each for its own reason; then those that hold."""

import copy
import pickle
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

from ocsp.certificate import read_certificate
from ocsp.chain import ValidatedChain, validate_path
from ocsp.config import TrustStore
from ocsp.errors import (
    CertificateExpired,
    CertificateExtensionUnknown,
    CertificateMalformed,
    CertificateNotTrusted,
    CertificateNotYetValid,
    CertificatePersonMissing,
    CertificatePurposeMissing,
    CertificatePurposeWrong,
    ConfigurationInvalid,
    KeyTooWeak,
    PathMember,
    PathUndecided,
    SignatureAlgorithmRefused,
)
from ocsp.path_engine import MAX_PATHS, PathEngine
from tests.support.certificates import (
    CITIZEN_POLICY,
    EXPLICIT_CA_FALSE,
    NOW,
    Issued,
    authority_spec,
    citizen_spec,
    development_like_pki,
    distinguished_name,
    edited,
    issue,
    key_usage,
    private_key,
    signed_with_sha1,
)
from tests.support.trust import citizen_profile, trust_store

PKI = development_like_pki()
STORE = trust_store(PKI)
LEAF = read_certificate(PKI.leaf.der)
LATER = PKI.leaf.certificate.not_valid_after_utc + timedelta(seconds=1)
EARLIER = PKI.leaf.certificate.not_valid_before_utc - timedelta(seconds=1)


def _store_with(national: Issued, citizen: Issued, root: Issued = PKI.root) -> TrustStore:
    profile = citizen_profile(PKI, certificates=(citizen.der,))
    return TrustStore(roots=(root.der,), intermediates=(national.der,), issuers=(profile,))


def test_an_expired_certificate_is_refused() -> None:
    with pytest.raises(CertificateExpired) as caught:
        validate_path(PKI.leaf.der, STORE, LATER)
    assert caught.value.member is PathMember.USER
    assert caught.value.not_after == PKI.leaf.certificate.not_valid_after_utc


def test_a_certificate_that_is_not_yet_valid_is_refused() -> None:
    with pytest.raises(CertificateNotYetValid) as caught:
        validate_path(PKI.leaf.der, STORE, EARLIER)
    assert caught.value.member is PathMember.USER


def test_a_certificate_of_an_unknown_issuer_is_not_trusted() -> None:
    stranger = issue(authority_spec("Stranger CA", None))
    leaf = issue(citizen_spec(stranger))
    with pytest.raises(CertificateNotTrusted, match="claimed issuer"):
        validate_path(leaf.der, STORE, NOW)


def test_a_certificate_of_an_impostor_with_the_issuers_name_is_not_trusted() -> None:
    spec = authority_spec("Test Citizen CA", None)
    impostor = issue(replace(spec, key=private_key("impostor")))
    with pytest.raises(CertificateNotTrusted):
        validate_path(issue(citizen_spec(impostor)).der, STORE, NOW)


def test_an_impostor_without_key_identifiers_is_not_trusted() -> None:
    spec = replace(authority_spec("Test Citizen CA", None), key=private_key("impostor"))
    leaf = issue(citizen_spec(issue(spec)))

    def edit(tbs: asn1_x509.TbsCertificate) -> None:
        extensions = tbs["extensions"]
        kept = [e for e in extensions if e["extn_id"].native != "authority_key_identifier"]
        tbs["extensions"] = kept

    with pytest.raises(CertificateNotTrusted):
        validate_path(edited(leaf, issue(spec), edit), STORE, NOW)


def test_a_certificate_issued_by_an_authority_without_profile_is_not_trusted() -> None:
    leaf = issue(citizen_spec(PKI.national_ca))
    with pytest.raises(CertificateNotTrusted, match="claimed issuer"):
        validate_path(leaf.der, STORE, NOW)


def test_the_root_and_the_issuer_themselves_are_no_users() -> None:
    for authority in (PKI.root, PKI.citizen_ca):
        with pytest.raises(CertificatePurposeWrong):
            validate_path(authority.der, STORE, NOW)


def test_without_key_usage_the_purpose_is_missing() -> None:
    with pytest.raises(CertificatePurposeMissing):
        validate_path(PKI.leaf_with(key_usage=None).der, STORE, NOW)


@pytest.mark.parametrize(
    "changes",
    [
        {"key_usage": key_usage("content_commitment")},
        {"key_usage": key_usage("digital_signature", "key_cert_sign")},
        {"key_usage": key_usage("digital_signature", "crl_sign")},
        {"extended_key_usage": (ExtendedKeyUsageOID.SERVER_AUTH,)},
        {"extended_key_usage": (ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)},
        {"basic_constraints": x509.BasicConstraints(ca=True, path_length=0)},
    ],
)
def test_another_purpose_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(CertificatePurposeWrong):
        validate_path(PKI.leaf_with(**changes).der, STORE, NOW)


def test_an_unknown_critical_extension_is_refused() -> None:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    with pytest.raises(CertificateExtensionUnknown) as caught:
        validate_path(PKI.leaf_with(more_extensions=((unknown, True),)).der, STORE, NOW)
    assert caught.value.oid == "1.2.3.4"


@pytest.mark.parametrize("kind", ["rsa1024", "p384"])
def test_a_key_below_the_issuers_floor_is_refused(kind: str) -> None:
    store = trust_store(PKI, allowed_curves=frozenset({"secp256r1"}))
    leaf = PKI.leaf_with(key=private_key(kind, kind))
    with pytest.raises(KeyTooWeak):
        validate_path(leaf.der, store, NOW)


def test_an_expired_authority_is_refused() -> None:
    spec = authority_spec("Test National Issuing CA", PKI.root)
    national = issue(replace(spec, not_after=NOW - timedelta(days=1)))
    with pytest.raises(CertificateExpired) as caught:
        validate_path(PKI.leaf.der, _store_with(national, PKI.citizen_ca), NOW)
    assert caught.value.member is PathMember.AUTHORITY


def test_an_authority_that_is_not_yet_valid_is_refused() -> None:
    spec = authority_spec("Test National Issuing CA", PKI.root)
    national = issue(replace(spec, not_before=NOW + timedelta(days=1)))
    with pytest.raises(CertificateNotYetValid) as caught:
        validate_path(PKI.leaf.der, _store_with(national, PKI.citizen_ca), NOW)
    assert caught.value.member is PathMember.AUTHORITY


def test_an_expired_root_is_refused_but_an_unrelated_one_does_no_harm() -> None:
    spec = authority_spec("Test National Root CA", None)
    expired = issue(replace(spec, not_after=NOW - timedelta(days=1)))
    with pytest.raises(CertificateExpired) as caught:
        validate_path(PKI.leaf.der, _store_with(PKI.national_ca, PKI.citizen_ca, expired), NOW)
    assert caught.value.member is PathMember.AUTHORITY
    other = issue(replace(authority_spec("Old Root CA", None), not_after=NOW - timedelta(days=1)))
    store = replace(STORE, roots=(PKI.root.der, other.der))
    assert validate_path(PKI.leaf.der, store, NOW).leaf == PKI.leaf.certificate


def test_a_path_length_constraint_is_kept() -> None:
    spec = authority_spec("Test National Issuing CA", PKI.root)
    national = issue(replace(spec, basic_constraints=x509.BasicConstraints(ca=True, path_length=0)))
    with pytest.raises(CertificateNotTrusted):
        validate_path(PKI.leaf.der, _store_with(national, PKI.citizen_ca), NOW)


def test_name_constraints_are_kept() -> None:
    elsewhere = x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "EE")]))
    constraints = x509.NameConstraints(permitted_subtrees=[elsewhere], excluded_subtrees=None)
    spec = authority_spec("Test Citizen CA", PKI.national_ca)
    citizen = issue(replace(spec, more_extensions=((constraints, True),)))
    with pytest.raises(CertificateNotTrusted):
        validate_path(PKI.leaf.der, _store_with(PKI.national_ca, citizen), NOW)


def test_name_constraints_that_the_engine_cannot_process_are_undecided() -> None:
    odd = x509.OtherName(x509.ObjectIdentifier("1.2.3.4"), b"\x0c\x01x")
    constraints = x509.NameConstraints(permitted_subtrees=[odd], excluded_subtrees=None)
    spec = authority_spec("Test Citizen CA", PKI.national_ca)
    citizen = issue(replace(spec, more_extensions=((constraints, True),)))
    leaf = PKI.leaf_with(more_extensions=((x509.SubjectAlternativeName([odd]), False),))
    with pytest.raises((PathUndecided, CertificateNotTrusted)):
        validate_path(leaf.der, _store_with(PKI.national_ca, citizen), NOW)


def test_a_path_longer_than_the_store_allows_is_refused() -> None:
    with pytest.raises(CertificateNotTrusted, match="no path"):
        validate_path(PKI.leaf.der, replace(STORE, max_depth=2), NOW)


def test_a_signature_of_somebody_else_is_refused() -> None:
    der = edited(PKI.leaf, PKI.national_ca, lambda _: None)
    with pytest.raises(CertificateNotTrusted):
        validate_path(der, STORE, NOW)


def test_a_sha1_signature_is_refused_though_it_is_valid() -> None:
    der = signed_with_sha1(PKI.leaf, PKI.citizen_ca)
    with pytest.raises(SignatureAlgorithmRefused):
        validate_path(der, trust_store(PKI), NOW)


def test_different_inner_and_outer_algorithms_are_refused() -> None:
    def edit(tbs: asn1_x509.TbsCertificate) -> None:
        tbs["signature"] = {"algorithm": "sha384_ecdsa"}

    with pytest.raises(CertificateMalformed, match="inner"):
        validate_path(edited(PKI.leaf, PKI.citizen_ca, edit), STORE, NOW)


def test_a_spent_budget_is_undecided() -> None:
    ticks = iter(range(0, 1000, 10))
    engine = PathEngine(
        roots=(PKI.root.der,),
        intermediates=(PKI.national_ca.der, PKI.citizen_ca.der),
        max_depth=6,
        budget=timedelta(seconds=2),
        stopwatch=lambda: float(next(ticks)),
    )
    with pytest.raises(PathUndecided, match="too many"):
        engine.find_path(LEAF, policies=frozenset({CITIZEN_POLICY}), at=NOW, anchors=frozenset())


def test_a_maze_of_lookalikes_is_undecided() -> None:
    spec = authority_spec("Test National Issuing CA", PKI.root)
    late = replace(spec, not_before=NOW + timedelta(days=1))
    maze = tuple(issue(replace(late, serial=n + 1)).der for n in range(MAX_PATHS + 1))
    store = TrustStore(roots=(PKI.root.der,), intermediates=maze, issuers=(citizen_profile(PKI),))
    with pytest.raises(PathUndecided, match="too many"):
        validate_path(PKI.leaf.der, store, NOW)


def test_the_engine_wants_policies() -> None:
    with pytest.raises(ConfigurationInvalid):
        STORE.engine.find_path(LEAF, policies=frozenset(), at=NOW, anchors=frozenset())


def test_the_engine_gives_no_path_to_a_root_itself() -> None:
    with pytest.raises(CertificateNotTrusted, match="no path"):
        STORE.engine.find_path(
            read_certificate(PKI.root.der),
            policies=frozenset({CITIZEN_POLICY}),
            at=NOW,
            anchors=frozenset(),
        )


def test_a_broken_engine_is_undecided(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise TypeError("unhashable name")

    monkeypatch.setattr("ocsp.path_judging.ValidationContext", broken)
    with pytest.raises(PathUndecided, match="TypeError"):
        validate_path(PKI.leaf.der, trust_store(PKI), NOW)


def test_an_issuer_other_than_the_claimed_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    path = (LEAF, read_certificate(PKI.national_ca.der), read_certificate(PKI.root.der))
    monkeypatch.setattr(PathEngine, "find_path", lambda *_, **__: path)
    with pytest.raises(CertificateNotTrusted, match="another one"):
        validate_path(PKI.leaf.der, STORE, NOW)


@pytest.mark.parametrize("kind", ["p256", "p384", "rsa2048"])
def test_a_citizens_certificate_has_a_chain(kind: str) -> None:
    pki = development_like_pki(kind)
    chain = validate_path(pki.leaf.der, trust_store(pki), NOW)
    assert chain.certificates == (
        pki.leaf.certificate,
        pki.citizen_ca.certificate,
        pki.national_ca.certificate,
        pki.root.certificate,
    )
    assert (chain.leaf, chain.issuer) == chain.certificates[:2]
    assert chain.profile.name == "citizen"
    assert chain.at == NOW
    assert chain.person == "PNOMN-123456789012"


def test_an_absent_extended_key_usage_is_accepted() -> None:
    assert validate_path(PKI.leaf_with(extended_key_usage=()).der, STORE, NOW).at == NOW


def test_an_explicit_default_of_basic_constraints_is_accepted() -> None:
    leaf = PKI.leaf_with(basic_constraints=None, more_extensions=((EXPLICIT_CA_FALSE, True),))
    chain = validate_path(leaf.der, STORE, NOW)
    assert chain.read.extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature


def test_a_cross_certified_issuer_is_reached_by_the_path_that_holds() -> None:
    spec = authority_spec("Test National Issuing CA", PKI.root)
    expired = issue(replace(spec, serial=4711, not_after=NOW - timedelta(days=1)))
    store = TrustStore(
        roots=(PKI.root.der,),
        intermediates=(expired.der, PKI.national_ca.der),
        issuers=(citizen_profile(PKI),),
    )
    chain = validate_path(PKI.leaf.der, store, NOW)
    assert chain.certificates[2] == PKI.national_ca.certificate


@pytest.mark.parametrize(
    "subject",
    [
        distinguished_name("Nobody"),
        distinguished_name("Other", "PNOEE-38001085718"),
        x509.Name(
            [
                x509.NameAttribute(NameOID.SERIAL_NUMBER, "PNOMN-123456789012"),
                x509.NameAttribute(NameOID.SERIAL_NUMBER, "PNOMN-123456789013"),
            ]
        ),
    ],
)
def test_a_subject_that_names_no_one_person_is_refused(subject: x509.Name) -> None:
    chain = validate_path(PKI.leaf_with(subject=subject).der, STORE, NOW)
    with pytest.raises(CertificatePersonMissing):
        _ = chain.person


def test_a_validated_chain_cannot_be_made_copied_or_pickled() -> None:
    chain = validate_path(PKI.leaf.der, STORE, NOW)
    with pytest.raises(TypeError):
        ValidatedChain(chain.read, chain.path, chain.profile, NOW)
    with pytest.raises(TypeError):
        replace(chain, at=LATER)
    with pytest.raises(TypeError):
        pickle.dumps(chain)
    with pytest.raises(TypeError):
        copy.copy(chain)


@given(st.binary(max_size=400))
def test_random_bytes_are_refused_by_type(data: bytes) -> None:
    with pytest.raises(CertificateMalformed):
        validate_path(data, STORE, NOW)


@given(
    st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2060, 1, 1)),  # noqa: DTZ001 -- hypothesis wants naive bounds
)
def test_a_chain_holds_exactly_within_the_validity_of_its_members(naive: datetime) -> None:
    at = naive.replace(tzinfo=NOW.tzinfo)
    leaf = PKI.leaf.certificate
    inside = leaf.not_valid_before_utc <= at <= leaf.not_valid_after_utc
    try:
        validate_path(PKI.leaf.der, STORE, at)
    except (CertificateExpired, CertificateNotYetValid):
        assert not inside
    else:
        assert inside
