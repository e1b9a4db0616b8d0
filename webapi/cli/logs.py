"""`tamga log`: compare the records of an election's log, and make its tiles again."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import click

from signer.receipts.acceptance import slot_of
from signer.receipts.election import Manifest
from signer.receipts.errors import ElectionNotFound, SequencerHalted, SequencerRunning
from signer.receipts.inspection import inspect_log, rebuild_tiles
from signer.receipts.tile_store import TileFolder
from webapi import clock
from webapi.config import load_settings
from webapi.storage.elections import SqlElectionStore
from webapi.storage.log_store import SqlLogStore
from webapi.storage.realm import Realm
from webapi.wiring import Wiring


@dataclass(frozen=True, slots=True)
class LogArchive:
    """The logs of this service: database and folders.

    Attributes:
        elections: knows the elections.
        store: the logs' database.
        folder: holds a folder for each log.
    """

    elections: SqlElectionStore
    store: SqlLogStore
    folder: Path

    def manifest(self, election_id: str) -> Manifest:
        """An election's manifest; raises click.ClickException where there is none."""
        try:
            return Manifest.parse(self.elections.get(election_id).manifest)
        except ElectionNotFound as error:
            raise click.ClickException(str(error)) from error

    def files(self, manifest: Manifest) -> TileFolder:
        """The folder of an election's log."""
        return TileFolder(self.folder / manifest.election_id)


ArchiveOpener = Callable[[], LogArchive]


def open_archive(config: Path) -> LogArchive:
    """The logs of the service that the configuration file describes; no token is opened."""
    wiring = Wiring(load_settings(config, os.environ))
    return LogArchive(
        SqlElectionStore(wiring.engine(Realm.BALLOTS)),
        SqlLogStore(wiring.engine(Realm.BALLOTS)),
        wiring.settings.receipts.log_directory,
    )


@click.group()
@click.pass_context
def log(ctx: click.Context) -> None:
    """Compare the records of an election's log, and make its tiles again."""
    if isinstance(ctx.obj, Path):
        ctx.obj = partial(open_archive, ctx.obj)


@log.command()
@click.argument("election_id")
@click.pass_obj
def verify(open_it: ArchiveOpener, election_id: str) -> None:
    """Compare database, tiles and checkpoints of ELECTION_ID: exit 0 if they agree, 1 if not.

    Nothing is changed, and the service may run.
    """
    archive = open_it()
    manifest = archive.manifest(election_id)
    found = inspect_log(manifest, store=archive.store, files=archive.files(manifest))
    for difference in found:
        click.echo(f"{type(difference).__name__}: {difference}")
    if found:
        raise SystemExit(1)
    size = archive.store.log_state(election_id).signed_size
    click.echo(f"{election_id}: database, tiles and checkpoints agree, {size} entries signed")


@log.command()
@click.argument("election_id")
@click.pass_obj
def rebuild(open_it: ArchiveOpener, election_id: str) -> None:
    """Make the tiles of ELECTION_ID again from the database; the old ones are moved aside.

    Refused while a worker has the log, and where more than tiles differs.
    """
    archive = open_it()
    manifest = archive.manifest(election_id)
    files = archive.files(manifest)
    try:
        with files.locked():
            rebuilt = rebuild_tiles(
                manifest, store=archive.store, files=files, slot=slot_of(clock.now())
            )
    except SequencerRunning as error:
        raise click.ClickException("a worker has this log; stop it first") from error
    except SequencerHalted as error:
        raise click.ClickException(f"refused: {type(error).__name__}: {error}") from error
    if rebuilt:
        click.echo(f"{election_id}: tiles made again; the old ones are in tile.damaged-*")
    else:
        click.echo(f"{election_id}: the tiles are whole; nothing was changed")
