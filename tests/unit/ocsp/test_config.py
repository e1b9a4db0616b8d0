"""A configuration with nothing to check, or that contradicts itself, is refused at once."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ocsp.certificate import read_certificate
from ocsp.config import (
    MAX_STORE,
    CacheUse,
    CertIdHash,
    NonceMode,
    TrustStore,
)
from ocsp.crl.rules import CrlRules, StatusOrder
from ocsp.errors import ConfigurationInvalid
from ocsp.persons import PersonAttribute
from tests.support.certificates import (
    CITIZEN_POLICY,
    authority_spec,
    development_like_pki,
    issue,
    private_key,
)
from tests.support.trust import citizen_profile, trust_store

PKI = development_like_pki()


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"certificates": ()},
        {"required_policies": frozenset()},
        {"allowed_curves": frozenset()},
        {"answer_hashes": frozenset()},
        {"required_policies": frozenset({"not an oid"})},
        {"required_policies": frozenset({CITIZEN_POLICY, "2.5.29.32.0"})},
        {"disallowed_policies": frozenset({"1..2"})},
        {"disallowed_policies": frozenset({CITIZEN_POLICY})},
        {"skew": timedelta(seconds=-1)},
        {"max_age": timedelta(0)},
        {"answer_timeout": timedelta(0)},
        {"min_rsa_bits": 1024},
        {"answer_max_bytes": 0},
        {"responders": ()},
        {"responders": ("http://ocsp.example/", "http://ocsp.example/")},
        {"responders": ("ftp://ocsp.example/",)},
        {"responders": ("http:///ocsp",)},
    ],
)
def test_a_profile_that_would_check_nothing_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigurationInvalid):
        citizen_profile(PKI, **changes)


@pytest.mark.parametrize(
    ("oid", "pattern"), [("serialNumber", "x+"), ("2.5.4.5", "("), ("2.5.4.5", ".*")]
)
def test_a_person_rule_that_binds_nobody_is_refused(oid: str, pattern: str) -> None:
    with pytest.raises(ConfigurationInvalid):
        PersonAttribute(oid, pattern)


@pytest.mark.parametrize(
    ("order", "cache"),
    [
        (StatusOrder.CRL_THEN_OCSP, CacheUse.FIRST),
        (StatusOrder.CRL_ONLY, CacheUse.FIRST),
        (StatusOrder.CRL_ONLY, CacheUse.OUTAGE),
    ],
)
def test_a_cache_that_contradicts_the_order_is_refused(order: StatusOrder, cache: CacheUse) -> None:
    profile = citizen_profile(PKI)
    lists = {
        "order": order,
        "responders": profile.responders if order.asks_responders else (),
        "crl": CrlRules(("http://ca.example/citizen.crl",)),
        "nonce": NonceMode.PREFER,
    }
    assert citizen_profile(PKI, **lists).cache is CacheUse.OFF
    with pytest.raises(ConfigurationInvalid, match="kept"):
        citizen_profile(PKI, **lists, cache=cache)


def test_a_store_without_root_or_issuer_is_refused() -> None:
    profile = citizen_profile(PKI)
    with pytest.raises(ConfigurationInvalid):
        TrustStore(roots=(), intermediates=(), issuers=(profile,))
    with pytest.raises(ConfigurationInvalid):
        TrustStore(roots=(PKI.root.der,), intermediates=(), issuers=())


@pytest.mark.parametrize("changes", [{"max_depth": 0}, {"path_budget": timedelta(0)}])
def test_a_store_without_limits_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigurationInvalid):
        replace(trust_store(PKI), **changes)  # type: ignore[arg-type]  # names and types are TrustStore's


def test_a_root_that_is_not_self_signed_is_refused() -> None:
    with pytest.raises(ConfigurationInvalid, match="self-signed"):
        TrustStore(roots=(PKI.national_ca.der,), intermediates=(), issuers=(citizen_profile(PKI),))


def test_a_user_certificate_among_the_authorities_is_refused() -> None:
    with pytest.raises(ConfigurationInvalid, match="not a CA"):
        TrustStore(
            roots=(PKI.root.der,), intermediates=(PKI.leaf.der,), issuers=(citizen_profile(PKI),)
        )


def test_a_malformed_or_weak_authority_is_refused() -> None:
    weak = issue(replace(authority_spec("Weak", PKI.root), key=private_key("w", "rsa1024")))
    for der in (b"junk", weak.der):
        with pytest.raises(ConfigurationInvalid, match="refused"):
            TrustStore(roots=(PKI.root.der,), intermediates=(der,), issuers=(citizen_profile(PKI),))


def test_too_many_authorities_are_refused() -> None:
    many = tuple(
        issue(replace(authority_spec("Many", PKI.root), serial=n + 1)).der for n in range(MAX_STORE)
    )
    with pytest.raises(ConfigurationInvalid, match="more than"):
        TrustStore(roots=(PKI.root.der,), intermediates=many, issuers=(citizen_profile(PKI),))


def test_one_authority_has_one_profile() -> None:
    one, two = citizen_profile(PKI), citizen_profile(PKI, name="again")
    with pytest.raises(ConfigurationInvalid, match="two profiles"):
        TrustStore(roots=(PKI.root.der,), intermediates=(), issuers=(one, two))


def test_one_name_has_one_profile() -> None:
    spec = authority_spec("Test Citizen CA", PKI.national_ca)
    twin = issue(replace(spec, key=private_key("twin")))
    profile = citizen_profile(PKI, name="twin", certificates=(twin.der,))
    with pytest.raises(ConfigurationInvalid, match="name has two"):
        TrustStore(roots=(PKI.root.der,), intermediates=(), issuers=(citizen_profile(PKI), profile))


def test_a_profile_is_found_by_name_and_key() -> None:
    store = trust_store(PKI)
    profile = store.issuers[0]
    assert store.profile_of(read_certificate(PKI.citizen_ca.der)) is profile
    assert store.profile_of(read_certificate(PKI.national_ca.der)) is None
    assert store.profile_named(read_certificate(PKI.leaf.der)) is profile
    assert store.profile_named(read_certificate(PKI.citizen_ca.der)) is None


def test_a_generation_of_the_same_authority_shares_its_profile() -> None:
    spec = authority_spec("Test Citizen CA", PKI.national_ca)
    next_generation = issue(replace(spec, key=private_key("next generation")))
    profile = citizen_profile(PKI, certificates=(PKI.citizen_ca.der, next_generation.der))
    store = TrustStore(
        roots=(PKI.root.der,), intermediates=(PKI.national_ca.der,), issuers=(profile,)
    )
    assert store.profile_of(read_certificate(next_generation.der)) is profile


def test_certid_hashes_name_their_algorithms() -> None:
    assert CertIdHash.SHA256.algorithm.name == "sha256"
    assert CertIdHash.SHA1.algorithm.name == "sha1"


@given(st.text(max_size=40), st.text(max_size=20))
def test_person_rules_are_accepted_or_refused_by_type(oid: str, pattern: str) -> None:
    try:
        PersonAttribute(oid, pattern)
    except ConfigurationInvalid:
        return
