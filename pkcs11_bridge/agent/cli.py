"""``tamga-agent``: the citizen's program on the command line.

What exit codes mean stands in ``refusals``. On 3 to 8 standard output is
``{"error": {"code", "message", "advice", "tries_left"?}}``, and the advice is on standard error.
"""

import json
import locale
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Never

import click

from pkcs11_bridge.agent.authenticate import UnconfirmedOriginAccepted, authenticate
from pkcs11_bridge.agent.doctor import Finding, examine
from pkcs11_bridge.agent.ending import end_in_order
from pkcs11_bridge.agent.origins import PinnedOrigins
from pkcs11_bridge.agent.refusals import REFUSALS, exit_code, refusal_members
from pkcs11_bridge.agent.request import AuthenticateRequest
from pkcs11_bridge.agent.terminal import Terminal, somebody_is_there
from pkcs11_bridge.agent.words import Language, advice, language_of
from pkcs11_bridge.card_profiles import module_chooser
from pkcs11_bridge.process_guard import forbid_core_dumps

_FILE = click.Path(path_type=Path)

_module = click.option(
    "--module",
    type=click.Path(path_type=Path, resolve_path=True),
    help="PKCS#11 module; else by the card's profile.",
)
_profiles = click.option(
    "--profiles", type=_FILE, help="Card profiles that come before the shipped ones."
)
_reader = click.option("--reader", "reader_name", help="PC/SC reader, where several hold cards.")
_language = click.option(
    "--language", type=click.Choice(["mn", "en"]), help="Else the page's, or the computer's."
)


@click.group()
def main() -> None:
    """The citizen's program: signs a service's login challenge with an ID card."""


@main.command("authenticate")
@click.argument("request_json", metavar="JSON")
@click.option("--origins", type=_FILE, required=True, help="Pinned origins.")
@_module
@_profiles
@click.option("--pin-file", type=_FILE, help="Owner-only file; else asked.")
@_reader
@click.option("--certificate", help="Label or hexadecimal id, where several suit.")
@click.option("--wait", "wait_seconds", type=click.FloatRange(0, 300), default=0.0, help="Seconds.")
@click.option("--accept-unconfirmed-origin", "accept", is_flag=True, help="Nobody vouches for it.")
@click.option("--spend-final-try", is_flag=True, help="A wrong PIN then locks the card.")
@_language
def authenticate_command(
    *,
    request_json: str,
    origins: Path,
    module: Path | None,
    profiles: Path | None,
    pin_file: Path | None,
    reader_name: str | None,
    certificate: str | None,
    wait_seconds: float,
    accept: bool,
    spend_final_try: bool,
    language: Language | None,
) -> None:
    """Sign one challenge: JSON is {"challengeNonce": ..., "origin": ...}."""
    forbid_core_dumps()
    end_in_order()
    spoken = language or language_of(locale.getlocale()[0])
    at = datetime.now(UTC)
    try:
        request = AuthenticateRequest.parse(request_json)
        if language is None and request.language is not None:
            spoken = language_of(request.language)
        origin = request.unverified_origin
        token = authenticate(
            origin,
            request.unverified_nonce,
            PinnedOrigins.load(origins),
            module_chooser(module, profiles),
            Terminal(
                spoken, at, pin_file, certificate, spend_final_try, interactive=somebody_is_there()
            ),
            at=at,
            accepted=UnconfirmedOriginAccepted(origin) if accept else None,
            wait_seconds=wait_seconds,
            reader_name=reader_name,
        )
    except REFUSALS as e:
        _refuse(e, spoken)
    click.echo(json.dumps(token))


@main.command()
@_module
@_profiles
@_reader
@_language
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def doctor(
    *,
    module: Path | None,
    profiles: Path | None,
    reader_name: str | None,
    language: Language | None,
    as_json: bool,
) -> None:
    """Say what stands in the way of a login, step by step; asks for no PIN."""
    spoken = language or language_of(locale.getlocale()[0])
    try:
        module_for = module_chooser(module, profiles)
    except REFUSALS as e:
        _refuse(e, spoken)
    findings = list(examine(module_for, datetime.now(UTC), reader_name))
    if as_json:
        click.echo(json.dumps([_members(one, spoken) for one in findings], ensure_ascii=False))
    for one in () if as_json else findings:
        click.echo(f"{'ok  ' if one.refusal is None else 'FAIL'}  {one.name}: {one.seen}")
        if one.refusal is not None:
            click.echo(f"      {advice(one.refusal, spoken)}")
    refusal = findings[-1].refusal
    if refusal is not None:
        sys.exit(exit_code(refusal))


def _members(finding: Finding, language: Language) -> dict[str, object]:
    members: dict[str, object] = {"name": finding.name, "seen": finding.seen, "error": None}
    if finding.refusal is not None:
        members["error"] = refusal_members(finding.refusal, language)
    return members


def _refuse(error: Exception, language: Language) -> Never:
    """The refusal for the page on standard output, for the person on standard error."""
    members = refusal_members(error, language)
    click.echo(json.dumps({"error": members}, ensure_ascii=False))
    click.echo(members["advice"], err=True)
    sys.exit(exit_code(error))
