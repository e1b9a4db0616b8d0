"""`tamga ocsp`: ask for a certificate's status as a login does; make recorded decisions again."""

import json
import os
import sys
from datetime import datetime
from pathlib import Path

import click
from cryptography.hazmat.primitives.serialization import Encoding

from ocsp.chain import validate_path
from ocsp.client import OcspClient
from ocsp.errors import TrustError
from ocsp.status import CertificateStatus, Unavailable
from webapi.clock import now
from webapi.config import load_settings
from webapi.decision_record import MAX_RECORD_BYTES, RecordUnreadable, read_record
from webapi.decision_replay import Verdict, judge_record
from webapi.trust_settings import egress_of, read_certificate_file, trust_store_of

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_json = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


@click.group()
def ocsp() -> None:
    """Statuses of certificates."""


@ocsp.command()
@click.argument("certificate", type=_FILE)
@_json
@click.pass_obj
def query(config: Path, *, certificate: Path, as_json: bool) -> None:
    """Ask the issuer's responders about a certificate (PEM or DER), by the rules of a login.

    Lists are not read: what a login learns from them, of a CA above the issuer too, is not told.

    Exit 0: good. 1: refused, or the CA says revoked, suspended or unknown. 2: nobody told us.
    """
    settings = load_settings(config, os.environ)
    at = now()
    try:
        der = read_certificate_file(certificate).public_bytes(Encoding.DER)
        chain = validate_path(der, trust_store_of(settings), at)
        status = OcspClient(egress_of(settings)).status_of(chain, at)
    except TrustError as refusal:
        cause = type(refusal).__name__
        _tell({"status": "refused", "cause": cause, "detail": str(refusal)}, as_json=as_json)
        sys.exit(1)
    facts = _facts(status)
    _tell(facts, as_json=as_json)
    sys.exit({"good": 0, "unavailable": 2}.get(str(facts["status"]), 1))


def _facts(status: CertificateStatus) -> dict[str, object]:
    facts: dict[str, object] = {"status": type(status).__name__.lower()}
    if isinstance(status, Unavailable):
        return facts | {"attempts": [str(attempt) for attempt in status.attempts]}
    evidence = status.evidence
    return facts | {
        "responder": evidence.responder_name,
        "responder_url": evidence.responder_url,
        "this_update": _time(evidence.this_update),
        "next_update": None if evidence.next_update is None else _time(evidence.next_update),
        "nonce_matched": evidence.nonce_matched,
        "response_sha256": evidence.sha256,
    }


def _tell(facts: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(facts, ensure_ascii=False))
        return
    for name, value in facts.items():
        lines = value if isinstance(value, list) else [value]
        for line in lines:
            click.echo(f"{name}: {line}")


@ocsp.command("replay")
@click.argument("file", type=_FILE)
@click.option(
    "--root",
    "roots",
    type=_FILE,
    multiple=True,
    required=True,
    help="A root certificate that you trust, from elsewhere than the record; may be repeated.",
)
@_json
def replay_record(file: Path, *, roots: tuple[Path, ...], as_json: bool) -> None:
    """Make a recorded decision again at its own time: exit 0 if it is confirmed, 1 if not.

    Needs no configuration, no service and no network. The rules in the record are the issuer's
    profile as it was; compare their hash with one that was published elsewhere.
    """
    ders = tuple(read_certificate_file(root).public_bytes(Encoding.DER) for root in roots)
    try:
        with file.open("rb") as opened:
            record = read_record(opened.read(MAX_RECORD_BYTES + 1))
    except RecordUnreadable as error:
        _tell({"verdict": "unreadable", "detail": str(error)}, as_json=as_json)
        sys.exit(1)
    verdict = judge_record(record, ders)
    told = _verdict_members(verdict, _time(record.decision.decided_at))
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        for name, outcome in verdict.outcomes:
            # In quotes, as it is the record's own word: nothing of it may steer a terminal.
            why = f": {verdict.not_made[name]!r}" if name in verdict.not_made else ""
            click.echo(f"{outcome:>12}  {name}{why}")
        for refusal in verdict.refusals:
            click.echo(f"REFUSED: {refusal}")
        click.echo(f"{told['verdict']}, as of {told['decided_at']}")
    sys.exit(0 if verdict.confirmed else 1)


def _verdict_members(verdict: Verdict, decided_at: str) -> dict[str, object]:
    return {
        "verdict": "confirmed" if verdict.confirmed else "refused",
        "decided_at": decided_at,
        "checks": dict(verdict.outcomes),
        "not_made": verdict.not_made,
        "refusals": list(verdict.refusals),
    }


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")
