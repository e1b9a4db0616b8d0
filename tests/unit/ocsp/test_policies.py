"""Certificate policies: the issuer's lists on the certificate itself, then the path's."""

from dataclasses import replace

import pytest

from ocsp.chain import validate_path
from ocsp.errors import CertificatePolicyDisallowed, CertificatePolicyMissing
from ocsp.known_issuers import ANY_POLICY
from tests.support.certificates import (
    CITIZEN_POLICY,
    NOW,
    authority_spec,
    development_like_pki,
    issue,
)
from tests.support.trust import trust_store

PKI = development_like_pki()
STORE = trust_store(PKI)
OTHER_POLICY = "1.2.3.4"


@pytest.mark.parametrize("policies", [(ANY_POLICY,), (ANY_POLICY, OTHER_POLICY)])
def test_any_policy_is_none_of_the_required_ones(policies: tuple[str, ...]) -> None:
    with pytest.raises(CertificatePolicyMissing):
        validate_path(PKI.leaf_with(policies=policies).der, STORE, NOW)


def test_any_policy_does_not_slip_by_the_deny_list() -> None:
    store = trust_store(PKI, disallowed_policies=frozenset({OTHER_POLICY}))
    with pytest.raises(CertificatePolicyMissing):
        validate_path(PKI.leaf_with(policies=(ANY_POLICY,)).der, store, NOW)


def test_a_required_policy_that_only_the_leaf_has_is_not_valid_for_the_path() -> None:
    spec = authority_spec("Test Citizen CA", PKI.national_ca)
    citizen = issue(replace(spec, policies=(OTHER_POLICY,)))
    store = trust_store(PKI, certificates=(citizen.der,))
    leaf = PKI.leaf_with(policies=(CITIZEN_POLICY, OTHER_POLICY))
    with pytest.raises(CertificatePolicyMissing):
        validate_path(leaf.der, store, NOW)


def test_the_path_must_be_valid_for_the_very_policy_that_the_leaf_asserts() -> None:
    spec = authority_spec("Test Citizen CA", PKI.national_ca)
    citizen = issue(replace(spec, policies=(OTHER_POLICY,)))
    required = frozenset({CITIZEN_POLICY, OTHER_POLICY})
    store = trust_store(PKI, certificates=(citizen.der,), required_policies=required)
    with pytest.raises(CertificatePolicyMissing):
        validate_path(PKI.leaf_with(policies=(CITIZEN_POLICY, ANY_POLICY)).der, store, NOW)
    assert validate_path(PKI.leaf_with(policies=(OTHER_POLICY,)).der, store, NOW).at == NOW


@pytest.mark.parametrize("more", [ANY_POLICY, OTHER_POLICY])
def test_a_required_policy_beside_others_is_enough(more: str) -> None:
    leaf = PKI.leaf_with(policies=(more, CITIZEN_POLICY))
    assert validate_path(leaf.der, STORE, NOW).leaf == leaf.certificate


def test_a_certificate_without_policy_is_refused() -> None:
    with pytest.raises(CertificatePolicyMissing):
        validate_path(PKI.leaf_with(policies=()).der, STORE, NOW)


def test_a_certificate_with_another_policy_is_refused() -> None:
    with pytest.raises(CertificatePolicyMissing):
        validate_path(PKI.leaf_with(policies=("1.2.3.4",)).der, STORE, NOW)


def test_a_policy_that_an_authority_does_not_pass_on_is_refused() -> None:
    citizen = issue(replace(authority_spec("Test Citizen CA", PKI.national_ca), policies=()))
    store = trust_store(PKI, certificates=(citizen.der,))
    with pytest.raises(CertificatePolicyMissing):
        validate_path(PKI.leaf.der, store, NOW)


def test_a_disallowed_policy_is_refused() -> None:
    store = trust_store(PKI, disallowed_policies=frozenset({"1.2.3.4"}))
    leaf = PKI.leaf_with(policies=(CITIZEN_POLICY, "1.2.3.4"))
    with pytest.raises(CertificatePolicyDisallowed) as caught:
        validate_path(leaf.der, store, NOW)
    assert caught.value.policy == "1.2.3.4"
