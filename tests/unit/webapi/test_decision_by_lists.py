"""Decisions that rested on revocation lists, made again from their records."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from ocsp.crl.rules import CrlRules, StatusOrder
from ocsp.replay import Outcome
from tests.support.certificates import NOW
from tests.support.crls import CrlSpec, EntrySpec, make_crl
from tests.support.decisions import evidence_of, failed_checks, judge
from tests.support.ocsp_answers import answer, standard_spec
from tests.support.trust import citizen_profile
from tests.support.web import Site, make_site
from webapi.decision_record import export_record, read_record, rules_of
from webapi.login.sessions import LoginEvidence


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def evidence(site: Site) -> LoginEvidence:
    return evidence_of(site, site.client())


def _by_lists(site: Site, evidence: LoginEvidence, *specs: CrlSpec) -> LoginEvidence:
    urls = tuple(f"http://ca.example/{number}.crl" for number in range(len(specs)))
    profile = citizen_profile(
        site.pki, order=StatusOrder.CRL_ONLY, crl=CrlRules(urls), responders=()
    )
    return replace(
        evidence,
        ocsp_request=None,
        ocsp_response=b"",
        ocsp_nonce_matched=False,
        responder=specs[0].issuer.certificate.subject.rfc4514_string(),
        responder_url=" ".join(urls),
        from_cache=True,
        this_update=specs[0].this_update,
        rules=rules_of(profile),
        lists=tuple(make_crl(spec) for spec in specs),
    )


def test_a_decision_by_lists_is_confirmed_as_one(site: Site, evidence: LoginEvidence) -> None:
    by_lists = _by_lists(site, evidence, CrlSpec(issuer=site.pki.citizen_ca))
    record = export_record(by_lists)
    assert read_record(record).evidence == by_lists
    verdict = judge(site, record)
    assert verdict.refusals == ()
    assert ("19 crl", Outcome.PASSED) in verdict.outcomes


def test_a_decision_by_lists_that_say_otherwise_is_told(
    site: Site, evidence: LoginEvidence
) -> None:
    right = CrlSpec(issuer=site.pki.citizen_ca)
    listed = EntrySpec(site.pki.leaf.certificate.serial_number)
    for spec, check in (
        (replace(right, entries=(listed,)), "16 status"),
        (replace(right, issuer=site.pki.national_ca), "19 crl"),
        (replace(right, next_update=NOW - timedelta(minutes=6)), "19 crl"),
    ):
        assert failed_checks(judge(site, export_record(_by_lists(site, evidence, spec)))) == [check]
    one_place = replace(_by_lists(site, evidence, right, right), responder_url="http://x/")
    assert failed_checks(judge(site, export_record(one_place))) == ["19 crl"]
    no_lists_allowed = replace(_by_lists(site, evidence, right), rules=evidence.rules)
    assert failed_checks(judge(site, export_record(no_lists_allowed))) == ["19 crl"]


ABOVE = CrlRules(("http://ca.example/root.crl", "http://ca.example/national.crl"))


def _below_lists(site: Site, evidence: LoginEvidence, *specs: CrlSpec) -> LoginEvidence:
    """A decision by an answer, with these lists of the CAs above."""
    profile = citizen_profile(
        site.pki, responders=(evidence.responder_url,), authority_status=ABOVE
    )
    lists = tuple(make_crl(spec) for spec in specs)
    return replace(evidence, rules=rules_of(profile), authority_lists=lists)


def test_the_status_of_the_authorities_is_judged_again(site: Site, evidence: LoginEvidence) -> None:
    root, national = CrlSpec(issuer=site.pki.root), CrlSpec(issuer=site.pki.national_ca)
    listed = (EntrySpec(site.pki.citizen_ca.certificate.serial_number),)
    for specs in (
        (),
        (root,),
        (root, replace(national, entries=listed)),
        (root, replace(national, next_update=NOW - timedelta(minutes=6))),
        (root, replace(national, issuer=replace(site.pki.national_ca, key=site.pki.root.key))),
    ):
        verdict = judge(site, export_record(_below_lists(site, evidence, *specs)))
        assert failed_checks(verdict) == ["21 ca status"]
        assert ("2 request", Outcome.NOT_REACHED) in verdict.outcomes
    garbage = replace(_below_lists(site, evidence, root), authority_lists=(b"no list",))
    assert failed_checks(judge(site, export_record(garbage))) == ["21 ca status"]


def test_a_decision_below_lists_is_confirmed_as_one(site: Site, evidence: LoginEvidence) -> None:
    specs = (CrlSpec(issuer=site.pki.root), CrlSpec(issuer=site.pki.national_ca))
    below = _below_lists(site, evidence, *specs)
    record = export_record(below)
    assert read_record(record).evidence == below
    verdict = judge(site, record)
    assert verdict.refusals == ()
    assert verdict.outcomes[:2] == (("1 chain", Outcome.PASSED), ("21 ca status", Outcome.PASSED))
    assert verdict.not_made == {}
    # The lists may be older now; what counts is the time of the decision.
    later = replace(below, decided_at=specs[0].next_update + timedelta(minutes=6))
    assert "21 ca status" in failed_checks(judge(site, export_record(later)))


def test_a_record_of_before_has_no_rule_for_the_authorities(
    site: Site, evidence: LoginEvidence
) -> None:
    rules = json.loads(evidence.rules)
    del rules["authority_status"]
    canonical = json.dumps(rules, sort_keys=True, separators=(",", ":"))
    older = replace(evidence, rules=canonical.encode())
    verdict = judge(site, export_record(older))
    assert verdict.refusals == ()
    assert dict(verdict.outcomes)["21 ca status"] is Outcome.NOT_MADE
    assert verdict.not_made == {"21 ca status": "decided before the rules said it"}


def test_the_lists_of_a_delegate_without_nocheck_are_judged_again(
    site: Site, evidence: LoginEvidence
) -> None:
    assert evidence.ocsp_request is not None
    signer = site.pki.delegate_with(ocsp_no_check=False)
    spec = standard_spec(site.pki, evidence.ocsp_request)
    rules = CrlRules(("http://ca.example/citizen.crl",))
    profile = citizen_profile(
        site.pki,
        responders=(evidence.responder_url,),
        order=StatusOrder.OCSP_THEN_CRL,
        crl=rules,
    )
    right = CrlSpec(issuer=site.pki.citizen_ca)
    listed = replace(right, entries=(EntrySpec(signer.certificate.serial_number),))
    for lists, failed in (
        ((make_crl(right),), []),
        ((make_crl(listed),), ["10 delegate status"]),
        ((), ["10 delegate status"]),
    ):
        record = replace(
            evidence,
            ocsp_response=answer(replace(spec, signer=signer, certificates=(signer,))),
            rules=rules_of(profile),
            lists=lists,
        )
        assert failed_checks(judge(site, export_record(record))) == failed
