"""`tamga log`: compare the records of an election's log, make its tiles again, judge a hold."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click

from signer.receipts.acceptance import slot_of
from signer.receipts.confirmation import (
    MAX_EVIDENCE_BYTES,
    is_receipt,
    require_known,
    verify_evidence,
)
from signer.receipts.election import Manifest
from signer.receipts.errors import (
    DatabaseBehind,
    ElectionNotFound,
    EvidenceInvalid,
    LogForked,
    RestoredFromBackup,
    SequencerHalted,
    SequencerRunning,
)
from signer.receipts.inspection import inspect_log, rebuild_tiles
from signer.receipts.leaf import SLOT_SECONDS
from signer.receipts.policy import LogKeys
from signer.receipts.publication import Published
from signer.receipts.sequencer import ballot_log_of
from signer.receipts.tile_store import TileFolder
from webapi import clock
from webapi.config import load_settings
from webapi.storage.elections import SqlElectionStore
from webapi.storage.log_holds import HoldReason, LogHold, SqlLogHolds
from webapi.storage.log_store import SqlLogStore
from webapi.storage.realm import Realm
from webapi.wiring import Wiring


@dataclass(frozen=True, slots=True)
class LogArchive:
    """The logs of this service: database and folders.

    Attributes:
        elections: knows the elections.
        store: the logs' database.
        holds: which of them wait for a person.
        folder: holds a folder for each log.
    """

    elections: SqlElectionStore
    store: SqlLogStore
    holds: SqlLogHolds
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

    def publish_again(self, election_id: str, size: int) -> None:
        """Let the public see at least as much as it was proven to have seen.

        Args:
            election_id: of the log.
            size: a checkpoint's that the database was found to know.
        """
        state = self.store.log_state(election_id)
        if size > state.published.size:
            # A checkpoint that was shown and never committed here is within the newest one.
            known = self.store.checkpoint(election_id, size)
            size = state.signed_size if known is None else size
            self.store.publish(election_id, Published(size, state.published.epoch))


ArchiveOpener = Callable[[], LogArchive]


def open_archive(config: Path) -> LogArchive:
    """The logs of the service that the configuration file describes; no token is opened."""
    wiring = Wiring(load_settings(config, os.environ))
    return LogArchive(
        SqlElectionStore(wiring.engine(Realm.BALLOTS)),
        SqlLogStore(wiring.engine(Realm.BALLOTS)),
        SqlLogHolds(wiring.engine(Realm.BALLOTS)),
        wiring.settings.receipts.log_directory,
    )


@click.group()
@click.pass_context
def log(ctx: click.Context) -> None:
    """Compare the records of an election's log, make its tiles again, judge a hold."""
    if isinstance(ctx.obj, Path):
        ctx.obj = partial(open_archive, ctx.obj)


@log.command()
@click.argument("election_id")
@click.pass_obj
def verify(open_it: ArchiveOpener, election_id: str) -> None:
    """Compare database, tiles and checkpoints of ELECTION_ID: exit 0 if they agree, 1 if not.

    Nothing is changed, and the service may run. A log that is on hold does not agree.
    """
    archive = open_it()
    manifest = archive.manifest(election_id)
    found = inspect_log(ballot_log_of(manifest), store=archive.store, files=archive.files(manifest))
    held = tuple(RestoredFromBackup(_told(hold)) for hold in archive.holds.find(election_id))
    found = (*found, *held)
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
                ballot_log_of(manifest), store=archive.store, files=files, slot=slot_of(clock.now())
            )
    except SequencerRunning as error:
        raise click.ClickException("a worker has this log; stop it first") from error
    except SequencerHalted as error:
        raise click.ClickException(f"refused: {type(error).__name__}: {error}") from error
    if rebuilt:
        click.echo(f"{election_id}: tiles made again; the old ones are in tile.damaged-*")
    else:
        click.echo(f"{election_id}: the tiles are whole; nothing was changed")


@log.command()
@click.argument("election_id")
@click.pass_obj
def hold(open_it: ArchiveOpener, election_id: str) -> None:
    """Put the log of ELECTION_ID on hold, because its database was put back by other means.

    Do it before the service starts; a worker that runs lets go of the log within a moment.
    """
    archive = open_it()
    archive.manifest(election_id)
    archive.holds.place(election_id, reason=HoldReason.ORDERED, slot=slot_of(clock.now()))
    click.echo(f"{election_id}: on hold until `tamga log confirm {election_id}`")


@log.command()
@click.argument("election_id")
@click.option(
    "--newest",
    "shown",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    help="A checkpoint or receipt that somebody holds; repeat it for each.",
)
@click.option(
    "--nobody-holds-a-newer-one",
    "nobody",
    is_flag=True,
    help="You have asked, and nobody can show a checkpoint or receipt.",
)
@click.pass_obj
def confirm(
    open_it: ArchiveOpener, election_id: str, *, shown: tuple[Path, ...], nobody: bool
) -> None:
    """Release the log of ELECTION_ID, on your word that nothing newer than its database exists.

    Show the newest checkpoints and receipts that anybody holds: voters, auditors, witnesses, the
    caches of the public site. Each is compared with the database. One that is newer or differs is
    kept as a proof, and the log is on hold for ever, also if it was on none before. Exit 0 if it
    was released, 1 if not.
    """
    if bool(shown) is nobody:
        raise click.UsageError("give --newest for each, or --nobody-holds-a-newer-one")
    archive = open_it()
    manifest = archive.manifest(election_id)
    evidence = {str(path): _read_evidence(path) for path in shown}
    own = archive.files(manifest).read_checkpoint()
    if own is not None:
        evidence["the log's own folder"] = own
    sizes = _compare(archive, manifest, evidence)
    # What somebody shows as a checkpoint file, the public saw; a receipt's, and the folder's
    # own, may be ahead of it.
    seen = [sizes[source] for source in map(str, shown) if not is_receipt(evidence[source])]
    if seen:
        archive.publish_again(election_id, max(seen))
    statement = "nobody holds a newer one" if nobody else f"shown up to size {max(sizes.values())}"
    archive.holds.release(election_id, statement=statement, slot=slot_of(clock.now()))
    click.echo(f"{election_id}: released on your word ({statement}); the worker goes on with it")


def _compare(archive: LogArchive, manifest: Manifest, evidence: dict[str, bytes]) -> dict[str, int]:
    """The sizes that were shown, by source; what contradicts the database is kept, and refused."""
    keys = LogKeys(manifest.origin, manifest.log_keys)
    checkpoints = {}
    for source, unverified in evidence.items():
        try:
            checkpoints[source] = verify_evidence(unverified, keys)
        except EvidenceInvalid as error:
            raise click.ClickException(f"{source} proves nothing: {error}") from error
    for source, checkpoint in checkpoints.items():
        try:
            require_known(checkpoint, store=archive.store, log_id=manifest.election_id)
        except (DatabaseBehind, LogForked) as error:
            archive.holds.contradict(
                manifest.election_id, evidence[source], slot=slot_of(clock.now())
            )
            raise click.ClickException(
                f"refused, {source} proves it: {type(error).__name__}: {error}. The log stays on "
                "hold for ever; the election goes on in a new log"
            ) from error
    return {source: checkpoint.size for source, checkpoint in checkpoints.items()}


def _read_evidence(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(MAX_EVIDENCE_BYTES + 1)
    if len(data) > MAX_EVIDENCE_BYTES:
        raise click.ClickException(f"{path} is longer than any checkpoint or receipt")
    return data


def _told(hold: LogHold) -> str:
    since = datetime.fromtimestamp(hold.since_slot * SLOT_SECONDS, tz=UTC)
    text = f"on hold ({hold.reason}) since {since:%F %R} UTC"
    if hold.contradiction is not None:
        return f"{text}; the database lacks what was signed, for ever"
    return f"{text}; see `tamga log confirm`"
