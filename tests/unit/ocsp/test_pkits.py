"""All 249 sub-cases of NIST PKITS: path, policies and lists, status required below the root."""

from pathlib import Path

import pytest

from ocsp.errors import CertificateMalformed, KeyTooWeak, PathUndecided, TrustError
from ocsp.known_issuers import ANY_POLICY
from tests.support.pkits import (
    PkitsCase,
    cases,
    constrained_policies,
    needs_pkits,
    openssl_accepts,
    users_policies,
    validate,
)

pytestmark = needs_pkits

DEVIATIONS: dict[str, tuple[type[TrustError], str]] = {
    "4.1.4": (KeyTooWeak, "DSA-1024 with SHA-1 is no signature that anybody should still accept"),
    "4.1.5": (CertificateMalformed, "the same, with parameters inherited, which no parser reads"),
}
"""Valid cases that are refused on purpose: by which class, and why."""


def test_the_suite_is_whole() -> None:
    assert len(cases()) == 249
    assert sum(case.should_validate for case in cases()) == 114


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.number)
def test_each_case_is_decided_as_the_suite_says(case: PkitsCase) -> None:
    if case.number in DEVIATIONS:
        assert case.should_validate
        with pytest.raises(DEVIATIONS[case.number][0]):
            validate(case)
    elif case.should_validate:
        assert len(validate(case)) >= 2
    else:
        with pytest.raises(TrustError) as caught:
            validate(case)
        # Refused for what was found, not because something here broke.
        assert not isinstance(caught.value, PathUndecided)


@pytest.mark.parametrize(
    "case",
    [case for case in cases() if case.should_validate and case.number not in DEVIATIONS],
    ids=lambda case: case.number,
)
def test_a_valid_path_has_the_policies_that_the_suite_says(case: PkitsCase) -> None:
    expected = users_policies(case)
    if ANY_POLICY not in case.constrained:
        expected &= case.constrained
    assert constrained_policies(case) == expected


OPENSSL_DEVIATIONS = {
    "4.1.4": "it takes DSA",
    "4.14.30": "it takes no list whose signer is covered by that list alone",
}
"""Cases that OpenSSL decides otherwise than this product."""


@pytest.mark.long
@pytest.mark.parametrize("case", cases(), ids=lambda case: case.number)
def test_openssl_decides_alike(case: PkitsCase, tmp_path: Path) -> None:
    try:
        validate(case)
    except TrustError:
        is_valid = False
    else:
        is_valid = True
    agrees = openssl_accepts(case, tmp_path) is is_valid
    assert agrees is (case.number not in OPENSSL_DEVIATIONS)
