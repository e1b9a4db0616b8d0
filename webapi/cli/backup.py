"""`tamga backup`: make a backup beside the service, verify it, put it back."""

import json
import os
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

import click

from webapi import clock
from webapi.backup.create import BackupSource, create_backup
from webapi.backup.restore import RestoreReport, RestoreTarget, restore_backup
from webapi.backup.verify import BackupReport, examine_backup
from webapi.config import load_settings
from webapi.settings_model import Settings
from webapi.storage.elections import SqlElectionStore
from webapi.storage.engine import opened_engine
from webapi.storage.lease import WorkerLease
from webapi.storage.realm import Realm
from webapi.storage.realm_database import RealmDatabase
from webapi.storage.salt_keys import FileSaltVault
from webapi.storage.urls import is_sqlite, role_in, sqlite_path
from webapi.storage.version import require_current

_directory = click.argument("directory", type=click.Path(path_type=Path))
_salt_keys = click.option(
    "--salt-keys",
    "salt_keys",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder on other, erasable media for the keys of the salts.",
)
_fingerprint = click.option(
    "--fingerprint", help="SHA-256 of the manifest, as it was told when the backup was made."
)


@click.group()
def backup() -> None:
    """Make a backup beside the service, verify it, put it back."""


@backup.command()
@_directory
@_salt_keys
@click.pass_obj
def create(config: Path, *, directory: Path, salt_keys: Path | None) -> None:
    """Make a backup in DIRECTORY, which must not exist; the service goes on.

    It holds the databases of all realms and the newest checkpoint of every log. It does not hold
    tokens, PINs, TLS keys or the configuration, nor, unless --salt-keys says where to, the keys of
    the salts: what is erased here must be erasable in every copy.
    """
    if salt_keys is not None and salt_keys.resolve().is_relative_to(directory.resolve()):
        raise click.UsageError("--salt-keys is a folder elsewhere, on media that can be erased")
    settings = load_settings(config, os.environ)
    with ExitStack() as stack:
        engines = {
            realm: stack.enter_context(opened_engine(settings.database.of(realm).url, realm))
            for realm in Realm
        }
        for realm, engine in engines.items():
            require_current(engine, realm)
        source = BackupSource(
            origin=settings.service.origin,
            service=version("tamga-auth"),
            databases={realm: RealmDatabase(engines[realm], realm, None) for realm in Realm},
            elections=SqlElectionStore(engines[Realm.BALLOTS]),
            log_directory=settings.receipts.log_directory,
            audit_directory=settings.audit.directory,
        )
        made = create_backup(source, directory, at=clock.now())
    click.echo(f"{directory}: made and verified")
    click.echo(f"note elsewhere: fingerprint {made.fingerprint}")
    if salt_keys is not None:
        vault = FileSaltVault(settings.receipts.salt_key_directory)
        copied = vault.copy_keys_to(salt_keys.absolute())
        click.echo(f"{salt_keys}: {len(copied)} salt key(s) copied; erase them there, too")


@backup.command()
@_directory
@_fingerprint
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def verify(*, directory: Path, fingerprint: str | None, as_json: bool) -> None:
    """Verify the backup in DIRECTORY: exit 0 if it is whole, 1 if not. Nothing is changed."""
    report = examine_backup(directory, fingerprint=fingerprint)
    if as_json:
        click.echo(json.dumps(_members(report)))
    else:
        _tell(directory, report)
    if report.findings:
        raise SystemExit(1)


@backup.command()
@_directory
@_salt_keys
@_fingerprint
@click.pass_obj
def restore(
    config: Path, *, directory: Path, salt_keys: Path | None, fingerprint: str | None
) -> None:
    """Put the backup in DIRECTORY into the empty databases of this installation.

    Stop the service first. Afterwards every log that was not at its end, and every answer about
    certificates, is on hold until a person has compared what others know.
    """
    settings = load_settings(config, os.environ)
    # Before anything is loaded: a key that cannot be read is better known now.
    keys = {} if salt_keys is None else FileSaltVault(salt_keys.absolute()).all_keys()
    if fingerprint is None:
        warning = "warning: no --fingerprint: whoever could write there can have exchanged it all"
        click.echo(warning, err=True)
    with ExitStack() as stack:
        owned = {realm: _owned_database(settings, realm, stack) for realm in Realm}
        engine = stack.enter_context(opened_engine(settings.database.ballots.url, Realm.BALLOTS))
        target = RestoreTarget(
            origin=settings.service.origin,
            databases=owned,
            lease=WorkerLease(engine),
            log_directory=settings.receipts.log_directory,
            audit_directory=settings.audit.directory,
            work_directory=_work_directory(settings, owned),
        )
        report = restore_backup(directory, target, at=clock.now(), fingerprint=fingerprint)
    vault = FileSaltVault(settings.receipts.salt_key_directory)
    _tell_restored(
        report,
        [
            log.log_id
            for log in report.manifest.logs
            if log.log_id not in keys and not vault.has_key(log.log_id)
        ],
    )
    click.echo(f"{len(vault.add_keys(keys))} salt key(s) put back")


def _work_directory(settings: Settings, databases: Mapping[Realm, RealmDatabase]) -> Path:
    """Where the backup's copy is as private as the database that it becomes."""
    url = settings.database.ballots.url
    if not is_sqlite(url):
        return Path(tempfile.gettempdir())
    databases[Realm.BALLOTS].make_place()
    return sqlite_path(url).parent


def _owned_database(settings: Settings, realm: Realm, stack: ExitStack) -> RealmDatabase:
    places = settings.database.of(realm)
    engine = stack.enter_context(opened_engine(places.owner_url, realm))
    return RealmDatabase(engine, realm, role_in(places.url))


def _members(report: BackupReport) -> dict[str, object]:
    manifest = report.manifest
    return {
        "ok": not report.findings,
        "fingerprint": report.fingerprint,
        "made_at": None if manifest is None else manifest.made_at.isoformat(),
        "service": None if manifest is None else manifest.service,
        "logs": []
        if manifest is None
        else [
            {"log_id": log.log_id, "origin": log.origin, "size": log.size, "root": log.root}
            for log in manifest.logs
        ],
        "findings": [
            {"reason": type(finding).__name__, "detail": str(finding)}
            for finding in report.findings
        ],
    }


def _tell(directory: Path, report: BackupReport) -> None:
    for finding in report.findings:
        click.echo(f"{type(finding).__name__}: {finding}")
    manifest = report.manifest
    if report.findings or manifest is None:
        return
    click.echo(f"{directory}: whole, made {manifest.made_at:%F %R} UTC by {manifest.service}")
    click.echo(f"fingerprint {report.fingerprint}")
    for log in manifest.logs:
        click.echo(f"{log.log_id}: {log.size} entries signed")


def _tell_restored(report: RestoreReport, without_key: list[str]) -> None:
    made_at = f"{report.manifest.made_at:%F %R} UTC"
    click.echo(f"restored: everything is as it was at {made_at}; nobody is signed in")
    for log_id in report.witnesses:
        click.echo(f"{log_id}: the folder's own checkpoint is newer than the backup, and stays")
    for log_id in report.held:
        click.echo(f"{log_id}: on hold; find its newest checkpoints: tamga log confirm {log_id}")
    for name in report.unknown:
        click.echo(f"{name}: a log folder that the backup does not know: it is younger")
    for realm in report.audit_halted:
        click.echo(
            f"audit log of {realm}: it halts until the newest checkpoint that anybody holds of it "
            "is in its folder"
        )
    for log_id in without_key:
        click.echo(f"{log_id}: its salt key is missing: no ballot is taken, no receipt given again")
    click.echo(
        f"certificates: what was suspended or revoked after {made_at} is good again. The responder "
        "answers nothing until you have put that right: tamga pki list, then tamga pki confirm"
    )
