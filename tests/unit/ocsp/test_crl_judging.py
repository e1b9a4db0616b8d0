"""Lists that say nothing about a certificate, each for its own reason; then those that do."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from cryptography import x509

from ocsp.certificate import ReadCertificate, read_certificate
from ocsp.crl.errors import (
    CrlAlgorithmRefused,
    CrlFromFuture,
    CrlMissing,
    CrlReasonsIncomplete,
    CrlSignatureInvalid,
    CrlSignerNotAuthorised,
    CrlStale,
)
from ocsp.crl.judging import CrlFinding, CrlFreshness, CrlSet, judge_by_crls
from ocsp.crl.reading import read_crl
from ocsp.errors import CertificateNotTrusted, CrlRefused
from ocsp.path_building import Path
from tests.support.certificates import (
    NOW,
    Issued,
    authority_spec,
    development_like_pki,
    distinguished_name,
    issue,
    key_usage,
    private_key,
)
from tests.support.crls import CrlSpec, EntrySpec, make_crl, scope

PKI = development_like_pki()
FRESHNESS = CrlFreshness(skew=timedelta(minutes=5), max_age=timedelta(hours=24))
SPEC = CrlSpec(issuer=PKI.citizen_ca)
SERIAL = PKI.leaf.certificate.serial_number
REVOKED = replace(SPEC, entries=(EntrySpec(SERIAL, x509.ReasonFlags.key_compromise),))
HELD = replace(SPEC, entries=(EntrySpec(SERIAL, x509.ReasonFlags.certificate_hold),))
URI = "http://ca.example/list.crl"
COMPROMISE = frozenset({x509.ReasonFlags.key_compromise, x509.ReasonFlags.ca_compromise})


def path_of(leaf: Issued, *authorities: Issued) -> Path:
    members = (leaf, *(authorities or (PKI.citizen_ca, PKI.national_ca, PKI.root)))
    return tuple(read_certificate(member.der) for member in members)


def no_path(signer: ReadCertificate, at: datetime) -> Path:
    raise CertificateNotTrusted("no path")


def judge(
    *specs: CrlSpec,
    leaf: Issued = PKI.leaf,
    signers: tuple[Issued, ...] = (),
    freshness: CrlFreshness = FRESHNESS,
    checks_signers: bool = True,
) -> CrlFinding:
    def find_path(signer: ReadCertificate, at: datetime) -> Path:
        if any(signer.der == known.der for known in signers):
            return (signer, *path_of(PKI.citizen_ca, PKI.national_ca, PKI.root)[1:])
        return no_path(signer, at)

    crls = CrlSet(
        tuple(read_crl(make_crl(spec)) for spec in specs),
        tuple(read_certificate(signer.der) for signer in signers),
        find_path,
        freshness,
        checks_signers=checks_signers,
    )
    return judge_by_crls(path_of(leaf), crls, NOW)


def with_point(
    *,
    names: tuple[str, ...] = (URI,),
    reasons: frozenset[x509.ReasonFlags] | None = None,
    crl_issuer: x509.Name | None = None,
) -> Issued:
    """The leaf with one distribution point."""
    point = x509.DistributionPoint(
        full_name=[x509.UniformResourceIdentifier(name) for name in names] or None,
        relative_name=None,
        reasons=reasons,
        crl_issuer=None if crl_issuer is None else [x509.DirectoryName(crl_issuer)],
    )
    return PKI.leaf_with(more_extensions=((x509.CRLDistributionPoints([point]), False),))


def test_without_a_list_nothing_is_known() -> None:
    with pytest.raises(CrlMissing):
        judge()


def test_a_list_of_another_authority_says_nothing() -> None:
    with pytest.raises(CrlMissing):
        judge(replace(REVOKED, issuer=PKI.national_ca))


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"next_update": NOW - timedelta(minutes=6)}, CrlStale),
        ({"this_update": NOW - timedelta(hours=25)}, CrlStale),
        ({"this_update": NOW + timedelta(minutes=6)}, CrlFromFuture),
    ],
)
def test_a_list_that_is_not_current_says_nothing(
    changes: dict[str, datetime], refusal: type[CrlRefused]
) -> None:
    with pytest.raises(refusal):
        judge(replace(SPEC, **changes))  # type: ignore[arg-type]  # names and types are CrlSpec's


def test_within_the_skew_a_list_is_current() -> None:
    assert judge(replace(SPEC, next_update=NOW - timedelta(minutes=4))).entry is None


def test_a_list_signed_by_another_key_says_nothing() -> None:
    impostor = Issued(PKI.citizen_ca.certificate, private_key("impostor"))
    with pytest.raises(CrlSignatureInvalid):
        judge(replace(SPEC, issuer=impostor))


def test_a_list_signed_by_an_algorithm_that_is_not_allowed_says_nothing() -> None:
    narrow = replace(FRESHNESS, hashes=frozenset({"sha384"}))
    with pytest.raises(CrlAlgorithmRefused):
        judge(SPEC, freshness=narrow)


def test_an_authority_that_may_not_sign_lists_says_nothing() -> None:
    spec = replace(
        authority_spec("Test Citizen CA", PKI.national_ca), key_usage=key_usage("key_cert_sign")
    )
    path = path_of(PKI.leaf, issue(spec), PKI.national_ca, PKI.root)
    crls = CrlSet((read_crl(make_crl(SPEC)),), (), no_path, FRESHNESS, checks_signers=True)
    with pytest.raises(CrlSignerNotAuthorised, match="cRLSign"):
        judge_by_crls(path, crls, NOW)


def test_a_signer_of_its_own_without_a_valid_path_says_nothing() -> None:
    signer = issue(replace(authority_spec("Test Citizen CA", None), key=private_key("list signer")))
    crls = CrlSet(
        (read_crl(make_crl(replace(SPEC, issuer=signer))),),
        (read_certificate(signer.der),),
        no_path,
        FRESHNESS,
        checks_signers=True,
    )
    with pytest.raises(CrlSignerNotAuthorised, match="no valid path"):
        judge_by_crls(path_of(PKI.leaf), crls, NOW)


@pytest.mark.parametrize(
    "limits",
    [
        {"only_contains_ca_certs": True},
        {"only_contains_attribute_certs": True},
        {"full_name": [x509.UniformResourceIdentifier("http://ca.example/other.crl")]},
    ],
)
def test_a_list_for_other_certificates_says_nothing(limits: dict[str, object]) -> None:
    with pytest.raises(CrlMissing):
        judge(replace(REVOKED, scope=scope(**limits)), leaf=with_point())


def test_a_list_for_some_reasons_alone_does_not_do() -> None:
    some = replace(SPEC, scope=scope(only_some_reasons=COMPROMISE))
    with pytest.raises(CrlReasonsIncomplete, match="superseded"):
        judge(some)


def test_lists_that_share_the_reasons_do() -> None:
    others = frozenset(x509.ReasonFlags) - COMPROMISE
    others -= {x509.ReasonFlags.unspecified, x509.ReasonFlags.remove_from_crl}
    some = replace(SPEC, scope=scope(only_some_reasons=COMPROMISE))
    rest = replace(SPEC, scope=scope(only_some_reasons=others))
    finding = judge(some, rest)
    assert finding.entry is None
    assert len(finding.used) == 2


def test_a_revocation_in_a_list_for_some_reasons_is_enough() -> None:
    finding = judge(replace(REVOKED, scope=scope(only_some_reasons=COMPROMISE)))
    assert finding.entry is not None


def test_a_distribution_point_that_names_another_issuer_wants_an_indirect_list() -> None:
    leaf = with_point(crl_issuer=PKI.national_ca.certificate.subject)
    entry = EntrySpec(SERIAL, certificate_issuer=PKI.citizen_ca.certificate.subject)
    named = scope(indirect_crl=True, full_name=[x509.UniformResourceIdentifier(URI)])
    indirect = CrlSpec(issuer=PKI.national_ca, entries=(entry,), scope=named)
    finding = judge(indirect, leaf=leaf)
    assert finding.entry is not None
    direct = CrlSpec(issuer=PKI.national_ca, entries=(EntrySpec(SERIAL),))
    with pytest.raises(CrlMissing):
        judge(direct, leaf=leaf)


def test_an_indirect_list_says_nothing_about_the_same_serial_of_another_issuer() -> None:
    entry = EntrySpec(SERIAL, certificate_issuer=PKI.national_ca.certificate.subject)
    finding = judge(replace(SPEC, entries=(entry,), scope=scope(indirect_crl=True)))
    assert finding.entry is None


def test_a_revoked_signer_of_its_own_says_nothing() -> None:
    name = PKI.citizen_ca.certificate.subject
    signer = issue(
        replace(
            authority_spec("Test Citizen CA", PKI.national_ca),
            key=private_key("list signer"),
            serial=99,
        )
    )
    by_signer = replace(SPEC, issuer=signer, issuer_name=name)
    of_national = CrlSpec(issuer=PKI.national_ca)
    assert judge(by_signer, of_national, signers=(signer,)).entry is None
    revoked = replace(of_national, entries=(EntrySpec(99),))
    for checks_signers in (True, False):
        with pytest.raises(CrlSignerNotAuthorised, match="revoked"):
            judge(by_signer, revoked, signers=(signer,), checks_signers=checks_signers)
    with pytest.raises(CrlSignerNotAuthorised, match="not known"):
        judge(by_signer, signers=(signer,))
    assert judge(by_signer, signers=(signer,), checks_signers=False).entry is None


def rekeyed() -> Issued:
    """A later generation of the citizen CA: the same name, another key."""
    return issue(
        replace(
            authority_spec("Test Citizen CA", PKI.national_ca),
            key=private_key("next generation"),
            serial=98,
        )
    )


def test_a_newer_list_by_the_next_key_hides_no_revocation_by_the_former() -> None:
    later = rekeyed()
    by_later = replace(SPEC, issuer=later, this_update=NOW - timedelta(minutes=1))
    of_national = CrlSpec(issuer=PKI.national_ca)
    for former, expected in ((REVOKED, True), (HELD, True), (SPEC, False)):
        finding = judge(former, by_later, of_national, signers=(later,))
        assert (finding.entry is not None) is expected
        assert len(finding.used) == 2
    # The other way round: the next key's list is the one that still hears of revocations.
    older = replace(REVOKED, issuer=later, this_update=NOW - timedelta(hours=2))
    assert judge(SPEC, older, of_national, signers=(later,)).entry is not None


def test_a_list_by_the_next_key_does_where_the_former_has_none() -> None:
    later = rekeyed()
    by_later, of_national = replace(SPEC, issuer=later), CrlSpec(issuer=PKI.national_ca)
    stale = replace(REVOKED, next_update=NOW - timedelta(hours=1))
    assert judge(by_later, of_national, signers=(later,)).entry is None
    assert judge(stale, by_later, of_national, signers=(later,)).entry is None


def test_of_two_entries_for_one_certificate_the_worst_is_believed() -> None:
    hold, compromise, removed = (
        EntrySpec(SERIAL, reason)
        for reason in (
            x509.ReasonFlags.certificate_hold,
            x509.ReasonFlags.key_compromise,
            x509.ReasonFlags.remove_from_crl,
        )
    )
    for entries in ((hold, compromise), (compromise, hold)):
        found = judge(replace(SPEC, entries=entries)).entry
        assert found is not None
        assert found.reason is x509.ReasonFlags.key_compromise
    for entries in ((removed, hold), (hold, removed)):
        delta = replace(SPEC, number=8, delta_base=7, entries=entries)
        assert judge(SPEC, delta).entry is not None


def test_the_newest_list_decides() -> None:
    old = replace(REVOKED, this_update=NOW - timedelta(hours=2), number=6)
    assert judge(old, SPEC).entry is None
    assert judge(old).entry is not None


def test_a_revocation_is_found_with_its_time_and_reason() -> None:
    entry = judge(REVOKED).entry
    assert entry is not None
    assert entry.revoked_at == NOW - timedelta(days=2)
    assert entry.reason is x509.ReasonFlags.key_compromise


DELTA = replace(SPEC, number=8, delta_base=7, this_update=NOW - timedelta(minutes=1))


def test_a_delta_alone_says_nothing() -> None:
    with pytest.raises(CrlMissing):
        judge(DELTA)


def test_a_delta_revokes_and_removes() -> None:
    entries = (EntrySpec(SERIAL, x509.ReasonFlags.superseded),)
    finding = judge(SPEC, replace(DELTA, entries=entries))
    assert finding.entry is not None
    assert len(finding.used) == 2
    removed = replace(DELTA, entries=(EntrySpec(SERIAL, x509.ReasonFlags.remove_from_crl),))
    assert judge(HELD).entry is not None
    assert judge(HELD, removed).entry is None


@pytest.mark.parametrize(
    "changes",
    [
        {"delta_base": 8, "number": 9},  # begins after the complete list
        {"number": 7},  # is not later than it
        {"scope": scope(only_contains_user_certs=True)},
        {"this_update": NOW - timedelta(minutes=30), "next_update": NOW - timedelta(minutes=6)},
        {"issuer": Issued(PKI.citizen_ca.certificate, private_key("impostor"))},
    ],
)
def test_a_delta_that_does_not_fit_changes_nothing(changes: dict[str, object]) -> None:
    removed = replace(DELTA, entries=(EntrySpec(SERIAL, x509.ReasonFlags.remove_from_crl),))
    assert judge(HELD, replace(removed, **changes)).entry is not None  # type: ignore[arg-type]  # names and types are CrlSpec's


def test_a_current_delta_brings_an_old_list_up_to_date() -> None:
    old = replace(SPEC, next_update=NOW - timedelta(minutes=30))
    assert judge(old, DELTA).entry is None
    with pytest.raises(CrlStale):
        judge(old)


def test_names_of_issuers_are_compared_by_meaning() -> None:
    shouted = distinguished_name("TEST  CITIZEN ca")
    assert judge(replace(SPEC, issuer_name=shouted)).entry is None
