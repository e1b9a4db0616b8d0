"""A login's record, made again by an auditor who has the file and the root, and nothing else."""

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ocsp.cache import CachedStatus
from ocsp.chain import validate_path
from ocsp.config import (
    CacheUse,
    NonceMode,
)
from ocsp.crl.rules import AuthorityStatusUnpublished
from ocsp.errors import ConnectionFailed
from ocsp.persons import PersonRegister
from ocsp.replay import Outcome
from tests.support.answers import MemoryAnswers
from tests.support.certificates import NOW, authority_spec, delegate_spec, issue
from tests.support.decisions import evidence_of, failed_checks, judge
from tests.support.ocsp_answers import SingleSpec, answer, standard_spec
from tests.support.settings import DEVELOPMENT_SETTINGS
from tests.support.trust import CannedPoster, citizen_profile, client, trust_store
from tests.support.web import Site, make_site
from webapi.cli import main
from webapi.decision_record import (
    MAX_RECORD_BYTES,
    RecordUnreadable,
    export_record,
    read_record,
    rules_of,
)
from webapi.login.sessions import LoginEvidence

Values = dict[str, Any]  # a JSON document


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return make_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def evidence(site: Site) -> LoginEvidence:
    return evidence_of(site, site.client())


@pytest.fixture
def values(evidence: LoginEvidence) -> Values:
    found: Values = json.loads(export_record(evidence))
    return found


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _sealed(values: Values) -> bytes:
    """The record with its hashes computed anew, as a forger would."""
    body = {name: value for name, value in values.items() if name != "sha256"}
    body["sha256"] = values["sha256"] | {
        "certificate": sha256(base64.b64decode(values["certificates"][0])).hexdigest(),
        "response": sha256(base64.b64decode(values["status"]["response"])).hexdigest(),
        "rules": sha256(_canonical(values["rules"])).hexdigest(),
        "record": sha256(_canonical(body)).hexdigest(),
    }
    return json.dumps(body).encode()


def _url_safe(base64_text: str) -> str:
    return base64_text.replace("+", "-").replace("/", "_")


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


# --- a record that was changed ------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.update(decided_at=v["decided_at"] + 1),
        lambda v: v.update(subject="PNOMN-000000000000"),
        lambda v: v["status"].update(from_cache=True),
        lambda v: v["rules"].update(nonce="off"),
        lambda v: v["possession"].update(origin="https://other.example"),
        lambda v: v["certificates"].pop(),
        lambda v: v["sha256"].pop("rules"),
    ],
)
def test_a_change_is_told_by_the_hashes(values: Values, change: Callable[[Values], object]) -> None:
    change(values)
    with pytest.raises(RecordUnreadable, match="it was changed"):
        read_record(json.dumps(values).encode())


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (lambda v: v.update(subject="PNOMN-000000000000"), "stated facts"),
        (lambda v: v["status"].update(responder="CN=x"), "stated facts"),
        (lambda v: v["status"].update(this_update=0), "stated facts"),
        (lambda v: v["status"].update(nonce_matched=False), "stated facts"),
        (lambda v: v["status"].update(request=None), "2 request"),
        (lambda v: v["status"].update(request=_text(b"\x30\x00")), "2 request"),
        (lambda v: v["status"].update(from_cache=True), "17 cache"),
        (lambda v: v["status"].update(response=_text(b"\x30\x00")), "7 response type"),
        (lambda v: v["rules"].update(nonce="off"), "2 request"),
        (lambda v: v["status"].update(responder_url="http://elsewhere.example/"), "2 request"),
        (lambda v: v["rules"].update(required_policies=["1.2.3"]), "1 chain"),
        (lambda v: v["rules"].update(certificates=[_url_safe(v["certificates"][2])]), "1 chain"),
        (lambda v: v.update(decided_at=v["decided_at"] + 86_400), "13 times"),
        (lambda v: v.update(decided_at=v["decided_at"] + 10**9), "1 chain"),
        (lambda v: v["certificates"].pop(1), "1 chain"),
        (lambda v: v["possession"].update(origin="https://other.example"), "card signature"),
        (lambda v: v["possession"].update(algorithm="RS256"), "card signature"),
        (lambda v: v["possession"].update(algorithm="none"), "card signature"),
    ],
)
def test_a_change_with_new_hashes_is_told_by_the_check(
    site: Site, values: Values, change: Callable[[Values], object], check: str
) -> None:
    change(values)
    verdict = judge(site, _sealed(values))
    assert not verdict.confirmed
    assert check in failed_checks(verdict)


def test_an_answer_of_another_authority_is_told(
    site: Site, evidence: LoginEvidence, values: Values
) -> None:
    assert evidence.ocsp_request is not None
    spec = standard_spec(site.pki, evidence.ocsp_request)
    thief = issue(delegate_spec(site.pki.national_ca))
    forged = answer(replace(spec, signer=thief, certificates=(thief,)))
    values["status"]["response"] = _text(forged)
    verdict = judge(site, _sealed(values))
    assert failed_checks(verdict) == ["9 authorised signer"]
    assert ("8 signature", Outcome.NOT_REACHED) in verdict.outcomes
    assert ("11 responder id", Outcome.PASSED) in verdict.outcomes


def test_a_question_about_another_certificate_is_told(site: Site, values: Values) -> None:
    other = validate_path(site.pki.leaf_with(serial=4711).der, trust_store(site.pki), NOW)
    asked: list[bytes] = []

    def keep(request: bytes) -> bytes:
        asked.append(request)
        return b""

    client(CannedPoster(keep)).status_of(other, NOW)
    values["status"]["request"] = _text(asked[0])
    assert "2 request" in failed_checks(judge(site, _sealed(values)))


def test_another_root_than_the_auditors_is_told(site: Site, evidence: LoginEvidence) -> None:
    stranger = issue(authority_spec("Stranger Root", None))
    verdict = judge(site, export_record(evidence), stranger.der)
    assert failed_checks(verdict) == ["1 chain"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 100_000,
        b" " * (MAX_RECORD_BYTES + 1),
    ],
)
def test_what_is_no_record_is_refused(content: bytes) -> None:
    with pytest.raises(RecordUnreadable):
        read_record(content)


@pytest.mark.parametrize(
    "change",
    [
        lambda v: v.update(more=1),
        lambda v: v["rules"].update(more=1),
        lambda v: v["rules"].update(skew="x"),
        lambda v: v["rules"].update(required_policies=[]),
        lambda v: v.update(decided_at=10**30),
        lambda v: v.update(certificates=[]),
        lambda v: v.update(certificates=["AA=="]),
        lambda v: v["sha256"].update(token="zz"),
    ],
)
def test_a_record_of_another_shape_is_refused(
    values: Values, change: Callable[[Values], object]
) -> None:
    change(values)
    with pytest.raises(RecordUnreadable, match="no record"):
        read_record(json.dumps(values).encode())


# --- one that is right --------------------------------------------------------------------------


def test_a_decision_is_confirmed_long_after_everything_expired(
    site: Site, evidence: LoginEvidence
) -> None:
    verdict = judge(site, export_record(evidence))
    assert verdict.refusals == ()
    names = [name for name, _ in verdict.outcomes]
    assert names[:4] == ["1 chain", "21 ca status", "2 request", "3 certid hash"]
    others = {name: Outcome.PASSED for name in names if name != "21 ca status"}
    assert dict(verdict.outcomes) == others | {"21 ca status": Outcome.NOT_MADE}
    assert names[-2:] == ["card signature", "stated facts"]


def test_what_is_read_is_what_was_stored(evidence: LoginEvidence) -> None:
    assert read_record(export_record(evidence)).evidence == evidence


def test_a_decision_by_the_cache_is_confirmed_as_one(site: Site, evidence: LoginEvidence) -> None:
    store = trust_store(site.pki, cache=CacheUse.OUTAGE)
    chain = validate_path(site.pki.leaf.der, store, NOW)
    down: list[bool] = []

    def reply(request: bytes) -> bytes | ConnectionFailed:
        single = SingleSpec(next_update=NOW + timedelta(minutes=30))
        spec = replace(standard_spec(site.pki, request), singles=(single,))
        return ConnectionFailed("down") if down else answer(spec)

    source = CachedStatus(client(CannedPoster(reply)), MemoryAnswers())
    source.status_of(chain, NOW)
    down.append(True)
    later = NOW + timedelta(minutes=20)
    found = source.status_of(chain, later)
    assert not hasattr(found, "cause")
    cached = replace(
        evidence,
        ocsp_request=None,
        ocsp_response=found.evidence.response_der,
        ocsp_nonce_matched=False,
        from_cache=True,
        this_update=found.evidence.this_update,
        decided_at=later,
        rules=rules_of(chain.profile),
    )
    verdict = judge(site, export_record(cached))
    assert verdict.refusals == ()
    assert ("17 cache", Outcome.PASSED) in verdict.outcomes
    too_late = replace(cached, decided_at=NOW + timedelta(minutes=30))
    assert failed_checks(judge(site, export_record(too_late))) == ["17 cache"]


def test_the_rules_are_the_same_bytes_each_time_and_hold_nobodys_name(site: Site) -> None:
    profile = citizen_profile(
        site.pki,
        nonce=NonceMode.PREFER,
        required_policies=frozenset({f"1.2.{number}" for number in range(50)}),
        person=PersonRegister({4711: "PNOMN-000000000001"}, "PNOMN-[0-9]{12}"),
    )
    rules = json.loads(rules_of(profile))
    assert rules["required_policies"] == sorted(rules["required_policies"])
    assert rules["skew"] == 300.0
    assert b"000000000001" not in rules_of(profile)


def test_a_person_of_a_register_is_the_records_own(site: Site, evidence: LoginEvidence) -> None:
    profile = citizen_profile(
        site.pki,
        name="citizen-ca",
        responders=(evidence.responder_url,),
        person=PersonRegister({1: "PNOMN-000000000001"}, "PNOMN-[0-9]+"),
    )
    verdict = judge(site, export_record(replace(evidence, rules=rules_of(profile))))
    assert verdict.refusals == ()


# --- the commands -------------------------------------------------------------------------------


def _run(*arguments: str | Path) -> Any:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def files(tmp_path: Path, site: Site, evidence: LoginEvidence) -> Path:
    (tmp_path / "record.json").write_bytes(export_record(evidence))
    (tmp_path / "root.cer").write_bytes(site.pki.root.der)
    (tmp_path / "ca.cer").write_bytes(site.pki.citizen_ca.der)
    return tmp_path


@pytest.mark.parametrize("reason", ["none are \x1b[2Jpublished", "no lists"])
def test_a_check_that_was_not_made_is_told_with_the_rules_reason(
    files: Path, site: Site, evidence: LoginEvidence, reason: str
) -> None:
    profile = citizen_profile(
        site.pki,
        responders=(evidence.responder_url,),
        authority_status=AuthorityStatusUnpublished(reason),
    )
    record = files / "other.json"
    record.write_bytes(export_record(replace(evidence, rules=rules_of(profile))))
    done = _run("ocsp", "replay", record, "--root", files / "root.cer")
    assert (done.exit_code, f"    not made  21 ca status: {reason!r}\n" in done.output) == (0, True)
    told = json.loads(_run("ocsp", "replay", record, "--root", files / "root.cer", "--json").output)
    assert told["checks"]["21 ca status"] == "not made"
    assert told["not_made"] == {"21 ca status": reason}
    refused = _run("ocsp", "replay", record, "--root", files / "ca.cer")
    assert (refused.exit_code, "not made  21 ca status" in refused.output) == (1, True)


def test_replay_tells_every_check_by_name(files: Path) -> None:
    done = _run("ocsp", "replay", files / "record.json", "--root", files / "root.cer")
    assert done.exit_code == 0, done.output
    assert "passed  15 nonce" in done.output
    assert done.output.endswith("confirmed, as of 2026-11-15T12:00:00Z\n")


def test_replay_refuses_by_exit_code_and_in_json(files: Path) -> None:
    # A CA certificate that is not self-signed is no root.
    done = _run("ocsp", "replay", files / "record.json", "--root", files / "ca.cer", "--json")
    assert done.exit_code == 1
    told = json.loads(done.output)
    assert told["verdict"] == "refused"
    assert told["checks"]["1 chain"] == "failed"
    assert told["checks"]["16 status"] == "not reached"
    (files / "record.json").write_text("{}")
    done = _run("ocsp", "replay", files / "record.json", "--root", files / "root.cer", "--json")
    assert (done.exit_code, json.loads(done.output)["verdict"]) == (1, "unreadable")


def test_export_writes_a_new_file_for_its_owner_alone(
    files: Path, site: Site, evidence: LoginEvidence
) -> None:
    config = files / "tamga.toml"
    url = f"sqlite:///{site.engine.url.database}"
    config.write_text(DEVELOPMENT_SETTINGS.replace("sqlite:///login.db", url))
    output = files / "new.json"
    arguments = ("--config", config, "login", "export", evidence.evidence_id)
    done = _run(*arguments, "--output", output)
    assert done.exit_code == 0, done.output
    assert output.read_bytes() == (files / "record.json").read_bytes()
    assert output.stat().st_mode & 0o777 == 0o600
    again = _run(*arguments, "--output", output)
    assert again.exit_code == 1
    assert "is there already" in again.output
    assert json.loads(_run(*arguments).output)["evidence_id"] == evidence.evidence_id
    missing = _run("--config", config, "login", "export", "0" * 32)
    assert missing.exit_code == 1
    assert "no record of such a decision" in missing.output
