"""`tamga card`: what is in the readers, what a card holds, and whether it signs.

Exit codes as `tamga-agent`'s (pkcs11_bridge/agent/refusals.py): 0 done, 2 wrong usage, 4 a person
must do something, 5 configuration, 6 later, 7 no usable certificate or key.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click

from pkcs11_bridge.agent.card_report import look_at_card
from pkcs11_bridge.agent.card_trial import try_card
from pkcs11_bridge.agent.ending import end_in_order
from pkcs11_bridge.agent.refusals import REFUSALS, exit_code, refusal_members
from pkcs11_bridge.agent.terminal import Terminal, somebody_is_there
from pkcs11_bridge.agent.words import Language
from pkcs11_bridge.card_monitor import CardMonitor
from pkcs11_bridge.card_profiles import CardProfiles, module_chooser
from pkcs11_bridge.process_guard import forbid_core_dumps
from pkcs11_bridge.readers import list_readers, wait_for_card
from webapi.cli import card_lines

_WATCH_SECONDS = 1.0

_json = click.option("--json", "as_json", is_flag=True, help="JSON, one document a line.")
_reader = click.option("--reader", "reader_name", help="The reader, where several hold cards.")
_wait = click.option("--wait", "wait_seconds", type=click.FloatRange(0, 300), default=0.0)
_profiles = click.option(
    "--profiles",
    type=click.Path(exists=True, dir_okay=False, path_type=Path, resolve_path=True),
    help="Card profiles that come before the shipped ones.",
)
_module = click.option(
    "--module",
    type=click.Path(exists=True, dir_okay=False, path_type=Path, resolve_path=True),
    help="The card's PKCS#11 module; else by its profile.",
)


@click.group()
def card() -> None:
    """Readers and cards of this computer; only `test` asks for a PIN."""


@card.command("list")
@click.option("--watch", is_flag=True, help="Go on telling what comes and goes.")
@click.option("--seconds", type=click.FloatRange(0), help="Stop watching after so long.")
@_profiles
@_json
def list_cards(*, watch: bool, seconds: float | None, profiles: Path | None, as_json: bool) -> None:
    """List the readers, which of them hold a card, and what speaks to it."""
    with _refusals_told(as_json=as_json):
        table = CardProfiles.load(profiles)
        if watch:
            _watch(seconds, as_json=as_json)
            return
        found = [card_lines.reader_members(reader, table) for reader in list_readers()]
    if as_json:
        click.echo(json.dumps(found, ensure_ascii=False))
        return
    if not found:
        click.echo("No reader is connected.")
    for members in found:
        click.echo(card_lines.reader_line(members))


@card.command()
@_module
@_profiles
@_reader
@_wait
@_json
def show(
    *,
    module: Path | None,
    profiles: Path | None,
    reader_name: str | None,
    wait_seconds: float,
    as_json: bool,
) -> None:
    """Show a card's certificates, what they are for, and the PIN tries left."""
    with _refusals_told(as_json=as_json):
        module_for = module_chooser(module, profiles)
        reader = wait_for_card(wait_seconds, reader_name)
        report = look_at_card(reader, module_for(reader), datetime.now(UTC))
    if as_json:
        click.echo(json.dumps(card_lines.report_members(report), ensure_ascii=False))
        return
    for line in card_lines.report_lines(report):
        click.echo(line)


@card.command()
@_module
@_profiles
@_reader
@_wait
@click.option("--pin-file", type=click.Path(path_type=Path), help="Owner-only file; else asked.")
@click.option("--certificate", help="Label or hexadecimal id, where several suit.")
@click.option("--spend-final-try", is_flag=True, help="A wrong PIN then locks the card.")
@click.option("--language", type=click.Choice(["mn", "en"]), default="en", show_default=True)
@_json
def test(
    *,
    module: Path | None,
    profiles: Path | None,
    reader_name: str | None,
    wait_seconds: float,
    pin_file: Path | None,
    certificate: str | None,
    spend_final_try: bool,
    language: Language,
    as_json: bool,
) -> None:
    """Sign with the card as a login does, and verify; asks for the PIN once."""
    forbid_core_dumps()
    end_in_order()
    at = datetime.now(UTC)
    person = Terminal(
        language, at, pin_file, certificate, spend_final_try, interactive=somebody_is_there()
    )
    with _refusals_told(as_json=as_json, language=language):
        signed = try_card(
            module_chooser(module, profiles),
            person,
            at=at,
            wait_seconds=wait_seconds,
            reader_name=reader_name,
        )
    members = card_lines.signature_members(signed)
    if as_json:
        click.echo(json.dumps(members, ensure_ascii=False))
        return
    click.echo(
        f"{members['reader']}: a signature by {members['algorithm']} with {members['label']} of "
        f"{members['holder']}, verified. The card is closed again."
    )


def _watch(seconds: float | None, *, as_json: bool) -> None:
    end_in_order()
    deadline = None if seconds is None else time.monotonic() + seconds
    with CardMonitor() as monitor:
        while deadline is None or time.monotonic() < deadline:
            event = monitor.next_event(_WATCH_SECONDS)
            if event is None:
                continue
            members = card_lines.event_members(event)
            click.echo(json.dumps(members) if as_json else card_lines.event_line(event))
            sys.stdout.flush()


@contextmanager
def _refusals_told(*, as_json: bool, language: Language = "en") -> Iterator[None]:
    """A refusal ends the program with its exit code and its advice, never with a stack."""
    try:
        yield
    except REFUSALS as e:
        members = refusal_members(e, language)
        if as_json:
            click.echo(json.dumps({"error": members}, ensure_ascii=False))
        click.echo(f"{members['message']}\n{members['advice']}", err=True)
        sys.exit(exit_code(e))
