"""`tamga audit`: verify the audit logs, print the keys that an auditor pins, begin one anew."""

import base64
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click

from signer.audit.errors import AuditError
from signer.audit.inspection import (
    AuditBreak,
    AuditedRealm,
    AuditReport,
    origin_of,
    parse_audit_key,
    verify_realm,
)
from signer.audit.records import RealmRecords
from signer.audit.sealing import pinned_keys
from signer.errors import SignerError
from signer.receipts.errors import FormatRefused
from signer.receipts.note import VerifierKey
from webapi import clock
from webapi.audit_anew import AuditLogInUse, Lease, RealmAudit, begin_anew
from webapi.config import load_settings
from webapi.storage.audit_records import SqlRealmRecords
from webapi.storage.realm import Realm
from webapi.wiring import Wiring


@dataclass(frozen=True, slots=True)
class AuditDesk:
    """What the commands are about; no token is opened.

    Attributes:
        audit: a realm's audit log with all its generations.
        records: what it is compared with.
        lease: which the active worker holds.
    """

    audit: Callable[[Realm], RealmAudit]
    records: Callable[[Realm], RealmRecords]
    lease: Callable[[], Lease]

    def opened(self, realm: Realm) -> AuditedRealm:
        """All of a realm that is verified."""
        audit = self.audit(realm)
        return AuditedRealm(
            generations=audit.opened(),
            records=self.records(realm),
            coarse=realm is Realm.BALLOTS,
            behind=audit.behind(),
        )


def desk_of(config: Path) -> AuditDesk:
    """The service that the configuration file describes."""
    wiring = Wiring(load_settings(config, os.environ))
    return AuditDesk(
        audit=wiring.realm_audit,
        records=lambda realm: SqlRealmRecords(wiring.engine(realm), realm),
        lease=wiring.worker_lease,
    )


@click.group()
@click.pass_context
def audit(ctx: click.Context) -> None:
    """Verify the audit logs, print the keys that an auditor pins, begin a log anew."""
    if isinstance(ctx.obj, Path):
        ctx.obj = desk_of(ctx.obj)


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
    desk: AuditDesk,
    *,
    realm: str | None,
    vkey: str | None,
    since: Path | None,
    as_json: bool,
) -> None:
    """Compare REALM's audit log with its records, or that of every realm: exit 0 if they agree.

    1 if they do not. Nothing is changed, and the service may run. Where a log was begun anew is
    always told, and is no fault by itself.
    """
    opened = [desk.opened(one) for one in _chosen(realm)]
    if vkey is not None and len(opened) > 1:
        raise click.ClickException("a key is one log's: name the realm")
    kept = None if since is None else since.read_bytes()
    kept_origin = None if kept is None else _origin_of(kept)
    known = {generation.origin for one in opened for generation in one.generations}
    if kept_origin is not None and kept_origin not in known:
        raise click.ClickException(f"the checkpoint is of {kept_origin}, which is not asked for")
    reports = []
    for one in opened:
        key = None if vkey is None else _key(vkey, one)
        is_kept = kept_origin in {generation.origin for generation in one.generations}
        reports.append(verify_realm(one, key=key, kept=kept if is_kept else None))
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
def show_key(desk: AuditDesk, *, realm: str | None) -> None:
    """Print the vkeys of REALM's audit log, or of every realm's."""
    for one in _chosen(realm):
        active = desk.opened(one).active
        try:
            keys = pinned_keys(active.origin, active.files)
        except AuditError as error:
            raise click.ClickException(str(error)) from error
        for key in keys.keys:
            click.echo(str(key))


@audit.command("begin-anew")
@click.argument("realm", type=click.Choice([str(realm) for realm in Realm]))
@click.option("--because", required=True, help="Why, in a sentence that auditors will read.")
@click.pass_obj
def begin_again(desk: AuditDesk, *, realm: str, because: str) -> None:
    """Give REALM's audit log up and begin a new generation of it.

    Only for a log whose database is proven older than its folder, or whose folder is lost: look
    for the newer database, and for the newest checkpoint that an auditor has, first. Stop the
    service. The old folder and all its entries stay, and are verified as far as they go.
    """
    try:
        begun = begin_anew(desk.audit(Realm(realm)), desk.lease(), because=because, at=clock.now())
    except (SignerError, AuditLogInUse) as error:
        raise click.ClickException(f"refused: {error}") from error
    entry = begun.entry
    click.echo(f"{begun.origin}: begun; {entry.previous} is given up")
    click.echo(f"{entry.previous}: {_extent(entry.database_size, entry.known_size)}")
    if begun.keys is None:
        click.echo(f"its key is pinned with the first seal: `tamga audit key {realm}` prints it")
    else:
        for key in begun.keys.keys:
            click.echo(str(key))
    click.echo(
        "publish the new name and key to the auditors, and tell them why; keep the old folder"
    )


def _chosen(realm: str | None) -> Iterable[Realm]:
    return list(Realm) if realm is None else [Realm(realm)]


def _origin_of(kept: bytes) -> str:
    try:
        return origin_of(kept)
    except FormatRefused as error:
        raise click.ClickException("the file is not a checkpoint") from error


def _key(vkey: str, realm: AuditedRealm) -> VerifierKey:
    try:
        return parse_audit_key(vkey, [generation.origin for generation in realm.generations])
    except AuditError as error:
        raise click.ClickException(str(error)) from error


def _tell(report: AuditReport) -> None:
    for finding in report.findings:
        click.echo(f"{report.origin}: {finding.code}: {finding.what}")
    for one in report.breaks:
        click.echo(f"{one.origin}: {_told(one)}")
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
        "breaks": [_break_members(one) for one in report.breaks],
        "findings": [{"code": item.code, "what": item.what} for item in report.findings],
    }


def _told(one: AuditBreak) -> str:
    stored = one.stored
    since = datetime.fromtimestamp(stored.at, tz=UTC)
    extent = _extent(stored.database_size, stored.known_size)
    return f"begun anew on {since:%F %R} UTC; {stored.previous}: {extent}: {stored.reason}"


def _extent(database_size: int, known_size: int) -> str:
    """How far a generation is sealed that was given up."""
    if known_size:
        return f"sealed up to {database_size} in the database, up to {known_size} by its folder"
    return f"sealed up to {database_size} in the database, its folder has no checkpoint"


def _break_members(one: AuditBreak) -> dict[str, object]:
    stored = one.stored
    return {
        "origin": one.origin,
        "previous": stored.previous,
        "sealed_size": stored.database_size,
        "known_size": stored.known_size,
        "known_root": base64.b64encode(stored.known_root).decode() or None,
        "at": stored.at,
        "reason": stored.reason,
    }
