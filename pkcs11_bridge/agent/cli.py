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
from pkcs11_bridge.agent.ending import end_in_order
from pkcs11_bridge.agent.origins import PinnedOrigins
from pkcs11_bridge.agent.refusals import REFUSALS, exit_code, refusal_members
from pkcs11_bridge.agent.request import AuthenticateRequest
from pkcs11_bridge.agent.terminal import Terminal, somebody_is_there
from pkcs11_bridge.agent.words import Language, language_of
from pkcs11_bridge.card_profiles import module_chooser
from pkcs11_bridge.process_guard import forbid_core_dumps

_FILE = click.Path(path_type=Path)


@click.group()
def main() -> None:
    """The citizen's program: signs a service's login challenge with an ID card."""


@main.command("authenticate")
@click.argument("request_json", metavar="JSON")
@click.option("--origins", type=_FILE, required=True, help="Pinned origins.")
@click.option(
    "--module",
    type=click.Path(path_type=Path, resolve_path=True),
    help="PKCS#11 module; else by the card's profile.",
)
@click.option("--profiles", type=_FILE, help="Card profiles that come before the shipped ones.")
@click.option("--pin-file", type=_FILE, help="Owner-only file; else asked.")
@click.option("--reader", "reader_name", help="PC/SC reader, where several hold cards.")
@click.option("--certificate", help="Label or hexadecimal id, where several suit.")
@click.option("--wait", "wait_seconds", type=click.FloatRange(0, 300), default=0.0, help="Seconds.")
@click.option("--accept-unconfirmed-origin", "accept", is_flag=True, help="Nobody vouches for it.")
@click.option("--spend-final-try", is_flag=True, help="A wrong PIN then locks the card.")
@click.option("--language", type=click.Choice(["mn", "en"]), help="Else the page's.")
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


def _refuse(error: Exception, language: Language) -> Never:
    """The refusal for the page on standard output, for the person on standard error."""
    members = refusal_members(error, language)
    click.echo(json.dumps({"error": members}, ensure_ascii=False))
    click.echo(members["advice"], err=True)
    sys.exit(exit_code(error))
