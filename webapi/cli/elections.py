"""`tamga election`: create elections, list and show them.

Closing is not here: the election system orders it, signed by its own key.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import click
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from signer.receipts.election import Manifest
from signer.receipts.errors import ElectionExists, ElectionNotFound, ManifestMalformed
from signer.receipts.note import NotePublicKey, note_public_key
from webapi import clock
from webapi.config import load_settings
from webapi.elections.office import ElectionOffice, ElectionPlan
from webapi.storage.elections import SqlElectionStore, StoredElection
from webapi.storage.realm import Realm
from webapi.storage.salt_keys import FileSaltVault
from webapi.wiring import LOG_PURPOSES, Wiring

OfficeOpener = Callable[[], ElectionOffice]


def open_office(config: Path) -> ElectionOffice:
    """The office of the service that the configuration file describes."""
    wiring = Wiring(load_settings(config, os.environ))

    def log_keys() -> Sequence[NotePublicKey]:
        backend = wiring.keys.backend(LOG_PURPOSES, at=clock.now())
        try:
            return [note_public_key(backend.public_key(purpose)) for purpose in LOG_PURPOSES]
        finally:
            wiring.close()

    def next_keys() -> Sequence[NotePublicKey]:
        try:
            return wiring.keys.next_public_keys(LOG_PURPOSES, at=clock.now())
        finally:
            wiring.close()

    return ElectionOffice(
        elections=SqlElectionStore(wiring.engine(Realm.BALLOTS)),
        vault=FileSaltVault(wiring.settings.receipts.salt_key_directory),
        log_keys=log_keys,
        next_keys=next_keys,
    )


class _Moment(click.ParamType[datetime]):
    """An instant in RFC 3339 with its offset, whole seconds; kept as UTC."""

    name = "time"

    def convert(
        self, value: str | datetime, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a time like 2026-11-30T08:00:00+08:00", param, ctx)
        if moment.tzinfo is None or moment.microsecond:
            self.fail("the time needs an offset (Z or +08:00) and whole seconds", param, ctx)
        return moment.astimezone(UTC)


class _PublicKeyFile(click.ParamType[NotePublicKey]):
    """A PEM file with a public key, Ed25519 or ECDSA P-256."""

    name = "pem-file"

    def convert(
        self,
        value: str | NotePublicKey,
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> NotePublicKey:
        if not isinstance(value, str):
            return value
        try:
            key = serialization.load_pem_public_key(Path(value).read_bytes())
        except (OSError, ValueError, UnsupportedAlgorithm):
            self.fail(f"{value} is not a readable PEM file of a public key", param, ctx)
        if not isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
            self.fail(f"{value} is neither an ECDSA nor an Ed25519 key", param, ctx)
        return key


@click.group()
@click.pass_context
def election(ctx: click.Context) -> None:
    """Create elections, list and show them."""
    if isinstance(ctx.obj, Path):
        ctx.obj = partial(open_office, ctx.obj)


_json = click.option("--json", "as_json", is_flag=True, help="One JSON document.")
_id = click.argument("election_id")


@election.command()
@_id
@click.option("--title", required=True, help="What people call the election.")
@click.option("--domain", required=True, help="The log is named DOMAIN/ELECTION_ID.")
@click.option("--opens-at", type=_Moment(), required=True, help="RFC 3339, with offset.")
@click.option("--closes-at", type=_Moment(), required=True, help="RFC 3339, with offset.")
@click.option(
    "--system-key",
    type=_PublicKeyFile(),
    required=True,
    help="The election system's public key, P-256.",
)
@click.option(
    "--standby-key",
    "standby_keys",
    type=_PublicKeyFile(),
    multiple=True,
    help="Public log key on another token; repeat it for each.",
)
@click.option(
    "--no-vote-proof/--without-no-vote-proof",
    default=False,
    show_default=True,
    help="Whether the close record will hold a tree of those who voted.",
)
@_json
@click.pass_obj
def create(
    open_it: OfficeOpener,
    *,
    election_id: str,
    title: str,
    domain: str,
    opens_at: datetime,
    closes_at: datetime,
    system_key: NotePublicKey,
    standby_keys: tuple[NotePublicKey, ...],
    no_vote_proof: bool,
    as_json: bool,
) -> None:
    """Create the election ELECTION_ID and the first entry of its log."""
    if not isinstance(system_key, ec.EllipticCurvePublicKey):
        raise click.ClickException("refused: the election system's key is ECDSA P-256")
    plan = ElectionPlan(
        election_id=election_id,
        title=title,
        domain=domain,
        opens_at=opens_at,
        closes_at=closes_at,
        election_system_key=system_key,
        standby_keys=standby_keys,
        no_vote_proof=no_vote_proof,
    )
    office = open_it()
    try:
        office.create(plan)
    except (ManifestMalformed, ElectionExists) as error:
        raise click.ClickException(f"refused: {error}") from error
    _report(office.get(election_id), as_json=as_json)


@election.command("list")
@_json
@click.pass_obj
def list_elections(open_it: OfficeOpener, *, as_json: bool) -> None:
    """List the elections."""
    found = open_it().list_all()
    if as_json:
        click.echo(json.dumps([_members(stored) for stored in found], ensure_ascii=False))
        return
    for stored in found:
        members = _members(stored)
        state = "closed" if members["closed"] else "open"
        click.echo(f"{stored.election_id}  {state}  {members['origin']}  {members['title']}")


@election.command()
@_id
@_json
@click.pass_obj
def show(open_it: OfficeOpener, *, election_id: str, as_json: bool) -> None:
    """Show the election ELECTION_ID."""
    try:
        stored = open_it().get(election_id)
    except ElectionNotFound as error:
        raise click.ClickException(str(error)) from error
    _report(stored, as_json=as_json)


def _report(stored: StoredElection, *, as_json: bool) -> None:
    members = _members(stored)
    if as_json:
        click.echo(json.dumps(members, ensure_ascii=False))
        return
    for name, value in members.items():
        click.echo(f"{name + ':':<18}{value}")


def _members(stored: StoredElection) -> dict[str, str | int | bool]:
    manifest = Manifest.parse(stored.manifest)
    return {
        "election_id": manifest.election_id,
        "title": manifest.title,
        "origin": manifest.origin,
        "opens_at": manifest.opens_at.isoformat(),
        "closes_at": manifest.closes_at.isoformat(),
        "published_size": stored.published.size,
        "closed": stored.is_closed_in_public,
        "manifest_sha256": hashlib.sha256(stored.manifest).hexdigest(),
        "policy_sha256": manifest.policy_sha256.hex(),
    }
