"""Hostile sets of certificates: answered within a counted number of steps, whatever they are."""

from dataclasses import replace
from datetime import timedelta

from cryptography import x509
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from ocsp.certificate import ReadCertificate, read_certificate
from ocsp.errors import PathUndecided
from ocsp.path_building import MAX_STEPS, Path, PathBuilder, StepBudget
from tests.support.certificates import (
    NOW,
    CertificateSpec,
    Issued,
    authority_spec,
    development_like_pki,
    issue,
    private_key,
    signed_with_sha1,
)

PKI = development_like_pki()
DEPTH = 6


def read(*issued: Issued) -> list[ReadCertificate]:
    return [read_certificate(one.der) for one in issued]


def many(spec: CertificateSpec, count: int) -> list[Issued]:
    """Certificates with the same subject and key, each with a serial number of its own."""
    return [issue(replace(spec, serial=number + 1000)) for number in range(count)]


def search(
    leaf: Issued,
    intermediates: list[ReadCertificate],
    *,
    roots: tuple[Issued, ...] = (PKI.root,),
    offered: tuple[ReadCertificate, ...] = (),
    max_depth: int = DEPTH,
) -> tuple[list[Path], int, bool]:
    """All paths, the steps taken for them, and whether the search was given up."""
    builder = PathBuilder(roots=read(*roots), intermediates=intermediates)
    steps = StepBudget()
    found: list[Path] = []
    try:
        found.extend(
            builder.paths(read(leaf)[0], offered=offered, max_depth=max_depth, at=NOW, steps=steps)
        )
    except PathUndecided:
        return found, steps.taken, True
    return found, steps.taken, False


def test_hundreds_of_candidates_with_one_subject_and_key_end_the_search() -> None:
    lookalikes = many(authority_spec("Test National Issuing CA", PKI.root), 200)
    issuers = many(authority_spec("Test Citizen CA", PKI.national_ca), 200)
    _, taken, given_up = search(PKI.leaf, read(*lookalikes, *issuers))
    assert given_up
    assert taken == MAX_STEPS


def test_a_ring_of_cross_certificates_ends_the_search() -> None:
    names = [f"Ring CA {number}" for number in range(6)]
    ring = [issue(authority_spec(name, None)) for name in names]
    crossed = [
        issue(replace(authority_spec(lower, upper), serial=number + 1))
        for number, lower in enumerate(names)
        for upper in ring
    ]
    leaf = issue(replace(PKI.leaf_spec, issuer=ring[0]))
    found, taken, _ = search(leaf, read(*crossed))
    assert not found
    assert taken <= MAX_STEPS


def test_a_name_shared_by_many_keys_costs_one_look_each() -> None:
    spec = authority_spec("Test Citizen CA", PKI.national_ca)
    impostors = [issue(replace(spec, key=private_key(f"impostor {n}"))) for n in range(30)]
    found, taken, given_up = search(PKI.leaf, read(*impostors, PKI.citizen_ca, PKI.national_ca))
    assert not given_up
    assert [path[1].der for path in found] == [PKI.citizen_ca.der]
    assert taken == 30 + 3


def test_offered_candidates_come_after_ours() -> None:
    theirs = many(authority_spec("Test National Issuing CA", PKI.root), 3)
    found, _, _ = search(
        PKI.leaf, read(PKI.citizen_ca, PKI.national_ca), offered=tuple(read(*theirs))
    )
    assert [path[2].der for path in found] == [PKI.national_ca.der, *(t.der for t in theirs)]


def test_certificates_that_are_valid_come_first() -> None:
    spec = authority_spec("Test National Issuing CA", PKI.root)
    expired = issue(replace(spec, serial=5, not_after=NOW - timedelta(days=1)))
    found, _, _ = search(PKI.leaf, read(expired, PKI.citizen_ca, PKI.national_ca))
    assert [path[2].der for path in found] == [PKI.national_ca.der, expired.der]


def test_no_path_is_longer_than_allowed() -> None:
    found, _, _ = search(PKI.leaf, read(PKI.citizen_ca, PKI.national_ca), max_depth=2)
    assert not found


def test_a_root_that_rolled_over_is_reached_directly_and_through_the_old_one() -> None:
    new = issue(replace(authority_spec("Test National Root CA", None), key=private_key("new root")))
    new_with_old = issue(
        replace(
            authority_spec("Test National Root CA", PKI.root), key=private_key("new root"), serial=9
        )
    )
    national = issue(authority_spec("Test National Issuing CA", new))
    intermediates = read(PKI.citizen_ca, national, new_with_old)
    both, _, _ = search(PKI.leaf, intermediates, roots=(PKI.root, new))
    assert [path[-1].der for path in both] == [new.der, PKI.root.der]
    old_alone, _, _ = search(PKI.leaf, intermediates)
    assert [len(path) for path in old_alone] == [5]


def test_an_issuer_that_writes_its_name_in_another_way_is_found() -> None:
    def written(text: str, kind: _ASN1Type) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text, kind)])

    spec = authority_spec("Named CA", PKI.root)
    issuer = issue(replace(spec, subject=written("Named CA", _ASN1Type.PrintableString)))
    alias = issue(replace(spec, subject=written("NAMED  ca", _ASN1Type.UTF8String)))
    leaf = issue(replace(PKI.leaf_spec, issuer=alias))
    found, _, _ = search(leaf, read(issuer))
    assert [path[1].der for path in found] == [issuer.der]


def test_a_signature_that_nobody_should_make_is_left_to_the_judge() -> None:
    leaf = read_certificate(signed_with_sha1(PKI.leaf, PKI.citizen_ca))
    builder = PathBuilder(roots=read(PKI.root), intermediates=read(PKI.citizen_ca, PKI.national_ca))
    found = list(builder.paths(leaf, offered=(), max_depth=DEPTH, at=NOW, steps=StepBudget()))
    assert len(found) == 1
