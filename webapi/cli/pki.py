"""`tamga pki`: what a registration authority does to issued certificates.

The group takes the path of the configuration file as `ctx.obj`, as `tamga` leaves it there, and
replaces it by a function that opens the store.
"""

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click

from webapi.clock import now
from webapi.config import load_settings
from webapi.storage.answer_holds import MAX_STATEMENT, SqlAnswerHolds
from webapi.storage.certificates import (
    REVOCATION_REASONS,
    CertificateRecord,
    CertificateRecordError,
    SqlCertificateStore,
)
from webapi.storage.engine import make_engine
from webapi.storage.realm import Realm
from webapi.storage.version import require_current

StoreOpener = Callable[[], SqlCertificateStore]
HoldsOpener = Callable[[], SqlAnswerHolds]


_HOLDS = "webapi.cli.pki.holds"


class _Serial(click.ParamType[int]):
    """A serial number in hexadecimal, with or without colons, as openssl and browsers show it."""

    name = "serial"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        try:
            return value if isinstance(value, int) else int(value.replace(":", ""), 16)
        except ValueError:
            self.fail(f"{value!r} is not a hexadecimal serial number", param, ctx)


def open_store(config: Path) -> SqlCertificateStore:
    """The store of the service that the configuration file describes."""
    engine = make_engine(load_settings(config, os.environ).database.pki.url, Realm.PKI)
    require_current(engine, Realm.PKI)
    return SqlCertificateStore(engine)


def open_holds(config: Path) -> SqlAnswerHolds:
    """The holds of the service that the configuration file describes."""
    engine = make_engine(load_settings(config, os.environ).database.pki.url, Realm.PKI)
    require_current(engine, Realm.PKI)
    return SqlAnswerHolds(engine)


@click.group()
@click.pass_context
def pki(ctx: click.Context) -> None:
    """Suspend, restore or revoke certificates of our own CAs."""
    if isinstance(ctx.obj, Path):
        ctx.meta[_HOLDS] = partial(open_holds, ctx.obj)
        ctx.obj = partial(open_store, ctx.obj)


_serial = click.argument("serial", type=_Serial())
_ca = click.option("--ca", help="Name of the CA, where two have the same serial number.")
_json = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


@pki.command("list")
@_json
@click.pass_obj
def list_certificates(open_it: StoreOpener, *, as_json: bool) -> None:
    """List issued certificates with their states."""
    records = open_it().records()
    if as_json:
        click.echo(json.dumps([_members(record) for record in records], ensure_ascii=False))
        return
    for record in records:
        click.echo(f"{record.serial:x}  {record.ca}  {record.state}  {record.subject}")


@pki.command()
@_serial
@_ca
@_json
@click.pass_obj
def suspend(open_it: StoreOpener, *, serial: int, ca: str | None, as_json: bool) -> None:
    """Put a certificate on hold; it can be restored."""
    store = open_it()
    name = _ca_of(store, serial, ca)
    _apply(lambda: store.suspend(ca=name, serial=serial, at=now()))
    _report(store, name, serial, as_json=as_json)


@pki.command()
@_serial
@_ca
@_json
@click.pass_obj
def restore(open_it: StoreOpener, *, serial: int, ca: str | None, as_json: bool) -> None:
    """Release a suspended certificate; a revoked one stays revoked."""
    store = open_it()
    name = _ca_of(store, serial, ca)
    _apply(lambda: store.restore(ca=name, serial=serial, at=now()))
    _report(store, name, serial, as_json=as_json)


@pki.command()
@_serial
@_ca
@click.option(
    "--reason", type=click.Choice(REVOCATION_REASONS), default="unspecified", show_default=True
)
@_json
@click.pass_obj
def revoke(
    open_it: StoreOpener, *, serial: int, ca: str | None, reason: str, as_json: bool
) -> None:
    """Revoke a certificate for good."""
    store = open_it()
    name = _ca_of(store, serial, ca)
    _apply(lambda: store.revoke(ca=name, serial=serial, at=now(), reason=reason))
    _report(store, name, serial, as_json=as_json)


@pki.command()
@click.option(
    "--because",
    "statement",
    required=True,
    help=f"What you compared, for the record; at most {MAX_STATEMENT} characters.",
)
@click.pass_context
def confirm(ctx: click.Context, *, statement: str) -> None:
    """Let the responder answer again after a restore, on your word that the records are right.

    First compare `tamga pki list` with your own papers: each certificate that was suspended or
    revoked after the backup was made is as it was before, and must be suspended or revoked again.

    While `tamga doctor` finds the database behind its audit log, nothing is answered all the same:
    put the newest database in its place, or begin that log anew (tamga audit).
    """
    if not statement.strip() or len(statement) > MAX_STATEMENT:
        raise click.UsageError(f"--because takes 1 to {MAX_STATEMENT} characters")
    open_it: HoldsOpener = ctx.meta[_HOLDS]
    holds = open_it()
    for hold in holds.find():
        if hold.restored_to is None:
            click.echo(f"the records were found to be old ones at {hold.since:%F %R} UTC")
        else:
            click.echo(f"the records were put back to {hold.restored_to:%F %R} UTC")
    holds.release(statement=statement, at=now())
    click.echo("released on your word; the responder answers again")


def _ca_of(store: SqlCertificateStore, serial: int, ca: str | None) -> str:
    if ca is not None:
        return ca
    found = [record.ca for record in store.find(serial)]
    if len(found) != 1:
        raise click.ClickException(
            f"{len(found)} certificates have the serial number {serial:x}"
            + (f": name one with --ca ({', '.join(found)})" if found else "")
        )
    return found[0]


def _apply(change: Callable[[], None]) -> None:
    try:
        change()
    except CertificateRecordError as e:
        raise click.ClickException(f"refused: {e}") from e


def _report(store: SqlCertificateStore, ca: str, serial: int, *, as_json: bool) -> None:
    record = store.status(ca, serial)
    if record is None:
        raise click.ClickException("the certificate is gone from the database")
    if as_json:
        click.echo(json.dumps(_members(record), ensure_ascii=False))
        return
    click.echo(f"{record.serial:x} is {record.state} now: {record.subject}")


def _members(record: CertificateRecord) -> dict[str, str | None]:
    return {
        "ca": record.ca,
        "serial": f"{record.serial:x}",
        "subject": record.subject,
        "not_after": record.not_after.isoformat(),
        "state": record.state.value,
        "since": None if record.since is None else record.since.isoformat(),
        "reason": record.reason,
    }
