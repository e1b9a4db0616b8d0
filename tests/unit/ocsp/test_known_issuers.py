"""A store that has seen the CA decides as one that has not: about good certificates and bad."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import NameOID

from ocsp.certificate import read_certificate
from ocsp.chain import validate_path
from ocsp.config import TrustStore
from ocsp.errors import TrustError
from ocsp.known_issuers import ANY_POLICY, KnownIssuer, known_issuer
from ocsp.path_engine import PathEngine
from tests.support.certificates import (
    CITIZEN_POLICY,
    EXPLICIT_CA_FALSE,
    NOW,
    Issued,
    authority_spec,
    development_like_pki,
    edited,
    issue,
    private_key,
    signed_with_sha1,
)
from tests.support.trust import citizen_profile, trust_store

PKI = development_like_pki()
OTHER_POLICY = "1.2.3.4"


def seen(store: TrustStore) -> TrustStore:
    """The store after one certificate of the CA was validated."""
    validate_path(PKI.leaf.der, store, NOW)
    return store


def verdict(der: bytes, store: TrustStore, at: datetime) -> object:
    try:
        chain = validate_path(der, store, at)
    except TrustError as error:
        return type(error)
    return chain.certificates


def impostors_leaf() -> Issued:
    spec = replace(authority_spec("Test Citizen CA", None), key=private_key("impostor"))
    return issue(replace(PKI.leaf_spec, issuer=issue(spec)))


def without_authority_key_identifier() -> bytes:
    def edit(tbs: object) -> None:
        extensions = tbs["extensions"]  # type: ignore[index]  # asn1crypto has no types
        kept = [e for e in extensions if e["extn_id"].native != "authority_key_identifier"]
        tbs["extensions"] = kept  # type: ignore[index]  # asn1crypto has no types

    return edited(PKI.leaf, PKI.citizen_ca, edit)


LEAVES = {
    "standard": PKI.leaf.der,
    "rsa": development_like_pki("rsa2048").leaf.der,
    "sha384": PKI.leaf_with(hash_algorithm=hashes.SHA384()).der,
    "explicit cA=FALSE": PKI.leaf_with(
        basic_constraints=None, more_extensions=((EXPLICIT_CA_FALSE, True),)
    ).der,
    "two policies": PKI.leaf_with(policies=(OTHER_POLICY, CITIZEN_POLICY)).der,
    "other policy": PKI.leaf_with(policies=(OTHER_POLICY,)).der,
    "any policy": PKI.leaf_with(policies=(ANY_POLICY,)).der,
    "any policy too": PKI.leaf_with(policies=(ANY_POLICY, CITIZEN_POLICY)).der,
    "no policy": PKI.leaf_with(policies=()).der,
    "expired": PKI.leaf_with(not_after=NOW - timedelta(days=1)).der,
    "sha1": signed_with_sha1(PKI.leaf, PKI.citizen_ca),
    "impostor": impostors_leaf().der,
    "somebody else's signature": edited(PKI.leaf, PKI.national_ca, lambda _: None),
    "no authority key identifier": without_authority_key_identifier(),
}


@pytest.mark.parametrize("der", LEAVES.values(), ids=LEAVES)
def test_a_store_that_knows_the_authority_decides_as_one_that_does_not(der: bytes) -> None:
    assert verdict(der, seen(trust_store(PKI)), NOW) == verdict(der, trust_store(PKI), NOW)


@pytest.mark.parametrize(
    "required", [{CITIZEN_POLICY}, {OTHER_POLICY}, {CITIZEN_POLICY, OTHER_POLICY}]
)
@pytest.mark.parametrize("passed_on", [(CITIZEN_POLICY,), (OTHER_POLICY,), (ANY_POLICY,)])
@pytest.mark.parametrize("der", [LEAVES["standard"], LEAVES["two policies"]])
def test_policies_are_decided_alike(
    required: set[str], passed_on: tuple[str, ...], der: bytes
) -> None:
    spec = authority_spec("Test Citizen CA", PKI.national_ca)
    citizen = issue(replace(spec, policies=passed_on))

    def store() -> TrustStore:
        profile = citizen_profile(
            PKI, certificates=(citizen.der,), required_policies=frozenset(required)
        )
        return TrustStore(
            roots=(PKI.root.der,), intermediates=(PKI.national_ca.der,), issuers=(profile,)
        )

    warm = store()
    verdict(LEAVES["two policies"], warm, NOW)
    assert verdict(der, warm, NOW) == verdict(der, store(), NOW)


def test_the_authorities_validity_is_decided_alike() -> None:
    spec = authority_spec("Test National Issuing CA", PKI.root)
    national = issue(replace(spec, not_after=NOW + timedelta(days=10)))

    def store() -> TrustStore:
        return TrustStore(
            roots=(PKI.root.der,), intermediates=(national.der,), issuers=(citizen_profile(PKI),)
        )

    later = NOW + timedelta(days=11)
    assert verdict(PKI.leaf.der, seen(store()), later) == verdict(PKI.leaf.der, store(), later)


def test_a_known_authority_needs_no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    store = seen(trust_store(PKI))

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("the full decision was asked")

    monkeypatch.setattr(PathEngine, "find_in_full", forbidden)
    chain = validate_path(PKI.leaf_with(serial=4711).der, store, NOW)
    assert chain.leaf.serial_number == 4711
    with pytest.raises(AssertionError):
        validate_path(LEAVES["impostor"], store, NOW)


def _known(*authorities: Issued) -> KnownIssuer | None:
    return known_issuer(tuple(read_certificate(issued.der) for issued in authorities))


CONSTRAINING: dict[str, tuple[x509.ExtensionType, bool]] = {
    "name constraints": (
        x509.NameConstraints(
            permitted_subtrees=[
                x509.DirectoryName(x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "MN")]))
            ],
            excluded_subtrees=None,
        ),
        True,
    ),
    "policy constraints": (x509.PolicyConstraints(0, None), True),
    "inhibit any policy": (x509.InhibitAnyPolicy(0), True),
    "policy mappings": (
        x509.UnrecognizedExtension(
            x509.ObjectIdentifier("2.5.29.33"), bytes.fromhex("300c300a06032a030406032a0305")
        ),
        True,
    ),
}


@pytest.mark.parametrize("extension", CONSTRAINING.values(), ids=CONSTRAINING)
def test_an_authority_that_constrains_what_is_below_is_not_remembered(
    extension: tuple[x509.ExtensionType, bool],
) -> None:
    spec = authority_spec("Test Citizen CA", PKI.national_ca)
    constrained = issue(replace(spec, more_extensions=(extension,)))
    assert _known(constrained, PKI.national_ca, PKI.root) is None


def test_a_root_with_policies_of_its_own_is_not_remembered() -> None:
    spec = authority_spec("Test National Root CA", None)
    assert _known(PKI.citizen_ca, issue(replace(spec, policies=(CITIZEN_POLICY,)))) is None
    assert _known(PKI.citizen_ca, issue(replace(spec, policies=(ANY_POLICY,)))) is not None


def test_the_policies_of_all_authorities_are_intersected() -> None:
    citizen = issue(
        replace(
            authority_spec("Test Citizen CA", PKI.national_ca),
            policies=(CITIZEN_POLICY, OTHER_POLICY),
        )
    )
    national = issue(
        replace(
            authority_spec("Test National Issuing CA", PKI.root),
            policies=(CITIZEN_POLICY, "1.2.3.5"),
        )
    )
    known = _known(citizen, national, PKI.root)
    assert known is not None
    assert known.policies == frozenset({CITIZEN_POLICY})


def test_a_store_that_constrains_names_still_decides_in_full() -> None:
    spec = authority_spec("Test Citizen CA", PKI.national_ca)
    constrained = issue(replace(spec, more_extensions=(CONSTRAINING["name constraints"],)))
    store = TrustStore(
        roots=(PKI.root.der,),
        intermediates=(PKI.national_ca.der,),
        issuers=(citizen_profile(PKI, certificates=(constrained.der,)),),
    )
    assert validate_path(PKI.leaf.der, store, NOW).leaf == PKI.leaf.certificate
    foreign = PKI.leaf_with(subject=x509.Name([x509.NameAttribute(NameOID.COUNTRY_NAME, "EE")]))
    assert verdict(foreign.der, store, NOW) == verdict(foreign.der, replace(store), NOW)
    assert isinstance(verdict(foreign.der, store, NOW), type)
