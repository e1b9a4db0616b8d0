"""`tamga audit`: verify the audit logs, and print the keys that an auditor pins."""

import base64
import json
import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import click

from signer.audit.errors import AuditError
from signer.audit.inspection import (
    AuditedRealm,
    AuditReport,
    origin_of,
    parse_audit_key,
    verify_realm,
)
from signer.audit.sealing import audit_origin, pinned_keys
from signer.receipts.errors import FormatRefused
from signer.receipts.note import VerifierKey
from webapi.config import load_settings
from webapi.storage.audit_log import SqlAuditLog
from webapi.storage.audit_records import SqlRealmRecords
from webapi.storage.realm import Realm
from webapi.wiring import Wiring

RealmOpener = Callable[[Realm], AuditedRealm]


def open_realm(config: Path, realm: Realm) -> AuditedRealm:
    """A realm of the service that the configuration file describes; no token is opened."""
    wiring = Wiring(load_settings(config, os.environ))
    engine = wiring.engine(realm)
    return AuditedRealm(
        log_id=str(realm),
        origin=audit_origin(wiring.audit_host, str(realm)),
        log=SqlAuditLog(engine, realm),
        files=wiring.audit_tiles(realm),
        records=SqlRealmRecords(engine, realm),
        coarse=realm is Realm.BALLOTS,
    )


@click.group()
@click.pass_context
def audit(ctx: click.Context) -> None:
    """Verify the audit logs, and print the keys that an auditor pins."""
    if isinstance(ctx.obj, Path):
        ctx.obj = partial(open_realm, ctx.obj)


_realm = click.argument("realm", type=click.Choice([str(realm) for realm in Realm]), required=False)


@audit.command()
@_realm
@click.option("--key", "vkey", help="The vkey that you pin; by default the log folder's own.")
@click.option(
    "--since",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="A checkpoint that you kept: the log must still begin as it says.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
@click.pass_obj
def verify(
    open_it: RealmOpener,
    *,
    realm: str | None,
    vkey: str | None,
    since: Path | None,
    as_json: bool,
) -> None:
    """Compare REALM's audit log with its records, or that of every realm: exit 0 if they agree.

    1 if they do not. Nothing is changed, and the service may run.
    """
    opened = [open_it(one) for one in _chosen(realm)]
    if vkey is not None and len(opened) > 1:
        raise click.ClickException("a key is one log's: name the realm")
    kept = None if since is None else since.read_bytes()
    kept_origin = None if kept is None else _origin_of(kept)
    if kept_origin is not None and kept_origin not in {one.origin for one in opened}:
        raise click.ClickException(f"the checkpoint is of {kept_origin}, which is not asked for")
    reports = []
    for one in opened:
        key = None if vkey is None else _key(vkey, one.origin)
        reports.append(verify_realm(one, key=key, kept=kept if one.origin == kept_origin else None))
    if as_json:
        click.echo(json.dumps([_members(report) for report in reports]))
    else:
        for report in reports:
            _tell(report)
    if any(report.findings for report in reports):
        raise SystemExit(1)


@audit.command("key")
@_realm
@click.pass_obj
def show_key(open_it: RealmOpener, *, realm: str | None) -> None:
    """Print the vkeys of REALM's audit log, or of every realm's."""
    for one in _chosen(realm):
        opened = open_it(one)
        try:
            keys = pinned_keys(opened.origin, opened.files)
        except AuditError as error:
            raise click.ClickException(str(error)) from error
        for key in keys.keys:
            click.echo(str(key))


def _chosen(realm: str | None) -> Iterable[Realm]:
    return list(Realm) if realm is None else [Realm(realm)]


def _origin_of(kept: bytes) -> str:
    try:
        return origin_of(kept)
    except FormatRefused as error:
        raise click.ClickException("the file is not a checkpoint") from error


def _key(vkey: str, origin: str) -> VerifierKey:
    try:
        return parse_audit_key(vkey, origin)
    except AuditError as error:
        raise click.ClickException(str(error)) from error


def _tell(report: AuditReport) -> None:
    for finding in report.findings:
        click.echo(f"{report.origin}: {finding.code}: {finding.what}")
    found = report.found
    size = 0 if report.checkpoint is None else report.checkpoint.size
    click.echo(
        f"{report.origin}: {size} entries sealed, {found.unsealed} waiting; "
        f"{found.spent} of {found.permits} permits spent; "
        f"{found.range_signatures} signatures in {found.ranges} ranges"
    )
    for name, count in found.open_ranges.items():
        click.echo(f"{report.origin}: range {name} has not ended: up to {count} signatures")
    if not report.findings:
        click.echo(f"{report.origin}: log and records agree")


def _members(report: AuditReport) -> dict[str, object]:
    found, checkpoint = report.found, report.checkpoint
    return {
        "origin": report.origin,
        "ok": not report.findings,
        "size": 0 if checkpoint is None else checkpoint.size,
        "root": None if checkpoint is None else base64.b64encode(checkpoint.root).decode(),
        "unsealed": found.unsealed,
        "permits": found.permits,
        "permits_spent": found.spent,
        "ranges": found.ranges,
        "range_signatures": found.range_signatures,
        "open_ranges": found.open_ranges,
        "findings": [{"code": item.code, "what": item.what} for item in report.findings],
    }
