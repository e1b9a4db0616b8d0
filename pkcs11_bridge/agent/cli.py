"""``tamga-agent``: the citizen's program on the command line.

Exit codes: 0 a token was printed · 2 wrong usage · 3 the service did not prove itself · 4 a person
must do something (PIN, card, reader) · 5 configuration · 6 try again later · 7 the card has no
usable certificate or key · 8 the request or the origins file is malformed.
On 3 to 8 standard output is ``{"error": {"code", "message", "tries_left"?}}``.
"""

import json
import re
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Never

import click

from pkcs11_bridge import errors
from pkcs11_bridge.agent import errors as agent_errors
from pkcs11_bridge.agent.authenticate import (
    PinQuestion,
    UnconfirmedOriginAccepted,
    authenticate,
)
from pkcs11_bridge.agent.origins import PinnedOrigins
from pkcs11_bridge.agent.request import AuthenticateRequest
from pkcs11_bridge.pin import FilePinSource, PinSource, PromptPinSource
from pkcs11_bridge.process_guard import forbid_core_dumps

_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (agent_errors.ProofError, 3),
    (agent_errors.OriginNotConfirmed, 3),
    (agent_errors.FinalTryRefused, 4),
    (agent_errors.CertificateNotSuitable, 7),
    (agent_errors.CertificateAmbiguous, 7),
    (agent_errors.CardSignatureInvalid, 7),
    (agent_errors.AgentError, 8),
    (errors.NeedsPerson, 4),
    (errors.RetryLater, 6),
    (errors.KeyGone, 7),
    (errors.TokenError, 5),
)

_MODULE_PATH = click.Path(path_type=Path, resolve_path=True)


@click.group()
def main() -> None:
    """The citizen's program: signs a service's login challenge with an ID card."""


@main.command("authenticate")
@click.argument("request_json", metavar="JSON")
@click.option("--origins", type=click.Path(path_type=Path), required=True, help="Pinned origins.")
@click.option("--module", type=_MODULE_PATH, required=True, help="PKCS#11 module.")
@click.option("--pin-file", type=click.Path(path_type=Path), help="Owner-only file; else asked.")
@click.option("--reader", "reader_name", help="PC/SC reader, where several hold cards.")
@click.option("--wait", "wait_seconds", type=click.FloatRange(0, 300), default=0.0, help="Seconds.")
@click.option("--accept-unconfirmed-origin", "accept", is_flag=True, help="Nobody vouches for it.")
@click.option("--spend-final-try", is_flag=True, help="A wrong PIN then locks the card.")
def authenticate_command(
    *,
    request_json: str,
    origins: Path,
    module: Path,
    pin_file: Path | None,
    reader_name: str | None,
    wait_seconds: float,
    accept: bool,
    spend_final_try: bool,
) -> None:
    """Sign one challenge: JSON is {"challengeNonce": ..., "origin": ...}."""
    forbid_core_dumps()
    # A terminated agent must still close the card: SystemExit runs every finally.
    signal.signal(signal.SIGTERM, _leave)
    try:
        request = AuthenticateRequest.parse(request_json)
        origin = request.unverified_origin
        token = authenticate(
            origin,
            request.unverified_nonce,
            PinnedOrigins.load(origins),
            module,
            _pin_source(pin_file),
            at=datetime.now(UTC),
            show=_show,
            accepted=UnconfirmedOriginAccepted(origin) if accept else None,
            may_spend_final_try=spend_final_try,
            wait_seconds=wait_seconds,
            reader_name=reader_name,
        )
    except (errors.TokenError, agent_errors.AgentError) as e:
        click.echo(json.dumps({"error": _told(e)}))
        sys.exit(exit_code(e))
    click.echo(json.dumps(token))


def exit_code(error: Exception) -> int:
    """The program's exit code for a refusal."""
    return next(code for kind, code in _EXIT_CODES if isinstance(error, kind))


def _told(error: Exception) -> dict[str, str | int]:
    """The refusal as a page gets it: a stable code, a sentence, the tries left where known."""
    code = re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()
    told: dict[str, str | int] = {"code": code, "message": str(error)}
    tries = getattr(error, "tries_left", None)
    if tries is not None:
        told["tries_left"] = tries
    return told


def _pin_source(pin_file: Path | None) -> PinSource:
    if pin_file is not None:
        return FilePinSource(pin_file)
    return PromptPinSource(lambda: str(click.prompt("PIN", hide_input=True, err=True)))


def _show(question: PinQuestion) -> None:
    """Tell the person, on standard error, what the PIN is asked for."""
    standing = "confirmed" if question.confirmed else "NOT CONFIRMED"
    tries = "unknown" if question.tries_left is None else str(question.tries_left)
    click.echo(f"Service: {question.origin} ({standing})", err=True)
    click.echo(f"Card of: {question.holder}    PIN tries left: {tries}", err=True)


def _leave(number: int, frame: FrameType | None) -> Never:
    del frame
    sys.exit(128 + number)
