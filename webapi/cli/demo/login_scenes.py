"""The login and its refusals."""

import base64
import os
import secrets
import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from webapi.cli.demo.client import Answer, Client
from webapi.cli.demo.narrator import DemoFailed
from webapi.cli.demo.stage import AgentAnswer, Stage

_LOOK_AT_LOG = "Look into service.log in the demonstration's folder."
_STOCK_SECONDS = 30.0
_POLL_SECONDS = 0.5  # one address may draw few


@dataclass(frozen=True, slots=True)
class LoginFacts:
    """What the summary tells of the login."""

    subject: str
    acr: str
    amr: list[str]
    certificate_sha256: str
    ocsp: dict[str, str]


def sign_in(stage: Stage) -> LoginFacts:
    """A login that succeeds, and the session that it opens."""
    browser = stage.browser()
    challenge = _challenge(browser)
    stage.narrator.fact("challenge", f"{challenge['nonce'][:24]}... (HSM's proof inside)")
    answer = stage.ask_agent(challenge["nonce"], stage.home.card_pin)
    if answer.token is None:
        raise DemoFailed(f"the agent refused: {answer.error}", "See docs/login-cycle.md, step 3.")
    stage.narrator.fact("card signed", f"{answer.token['algorithm']}, {answer.token['format']}")
    accepted = _require(_post_token(browser, challenge, answer), 200, "the login").json()
    me = _require(browser.get("/me", {"Accept": "application/json"}), 200, "the session").json()
    if me["subject"] != accepted["subject"]:
        raise DemoFailed("the session is another person's", _LOOK_AT_LOG)
    for name in ("subject", "display_name", "acr"):
        stage.narrator.fact(name, accepted[name])
    stage.narrator.fact("OCSP", f"{accepted['ocsp']['status']}, by {accepted['ocsp']['responder']}")
    _refuse_second_use(browser, challenge, answer)
    stage.narrator.fact("replay", "the same token again: refused, challenge_not_found")
    return LoginFacts(
        subject=accepted["subject"],
        acr=accepted["acr"],
        amr=list(accepted["amr"]),
        certificate_sha256=accepted["certificate_sha256"],
        ocsp=accepted["ocsp"],
    )


def wrong_pin(stage: Stage) -> None:
    """A wrong PIN: the card refuses, and the citizen is told how many tries are left."""
    challenge = _challenge(stage.browser())
    right = stage.home.card_pin.read_text(encoding="ascii").strip()
    wrong = _write_private(
        stage.home.directory / "wrong.pin", right[:-1] + ("0" if right[-1] != "0" else "1")
    )
    try:
        answer = stage.ask_agent(challenge["nonce"], wrong)
    finally:
        wrong.unlink()
    if answer.error.get("code") != "pin-incorrect":
        raise DemoFailed(f"a wrong PIN gave {answer.error}", "See docs/login-cycle.md, step 3.")
    if not isinstance(answer.error.get("tries_left"), int):
        raise DemoFailed("the card did not say how many tries are left", "Report this card.")
    stage.narrator.fact("refused", f"wrong PIN, tries left: {answer.error['tries_left']}")


def fake_service(stage: Stage) -> None:
    """A site that pretends to be the service: no proof, or somebody's; the PIN is not asked."""
    plain = base64.b64encode(secrets.token_bytes(32)).decode()
    forged = base64.b64encode(secrets.token_bytes(96)).decode()
    for nonce, code in ((plain, "proof-missing"), (forged, "proof-foreign")):
        answer = stage.ask_agent(nonce, stage.home.directory / "no-pin-is-ever-read")
        if answer.error.get("code") != code:
            raise DemoFailed(
                f"a fake challenge gave {answer.error or 'a token'}",
                "This must never happen: see pkcs11_bridge/agent/challenge_proof.py.",
            )
        stage.narrator.fact("agent refused", code)


def suspended_card(stage: Stage, serial: str) -> None:
    """The same card while its certificate is suspended, and after its release."""
    stage.operator("pki", "suspend", serial)
    refused = _attempt(stage)
    if (refused.status, refused.json().get("code")) != (403, "certificate_suspended"):
        raise DemoFailed(f"a suspended card got {refused.status}", _LOOK_AT_LOG)
    told = refused.json()
    stage.narrator.fact("refused", f"{told['code']}: {told['title']}")
    stage.narrator.fact("next step", told["next_step"])
    stage.operator("pki", "restore", serial)
    _require(_attempt(stage), 200, "the login after the release")
    stage.narrator.fact("released", "the same card signs in again")


def _attempt(stage: Stage) -> Answer:
    browser = stage.browser()
    challenge = _challenge(browser)
    answer = stage.ask_agent(challenge["nonce"], stage.home.card_pin)
    if answer.token is None:
        raise DemoFailed(f"the agent refused: {answer.error}", "See docs/login-cycle.md, step 3.")
    return _post_token(browser, challenge, answer)


def _challenge(browser: Client) -> dict[str, Any]:
    """A challenge; a service that has just begun to sign them may have none for a moment."""
    deadline = time.monotonic() + _STOCK_SECONDS
    while True:
        answer = browser.post_json("/auth/challenge", {})
        if answer.status != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() >= deadline:
            return _require(answer, 200, "a challenge").json()
        time.sleep(_POLL_SECONDS)


def _post_token(browser: Client, challenge: dict[str, Any], answer: AgentAnswer) -> Answer:
    body = {"challenge_id": challenge["challenge_id"], "authToken": answer.token}
    return browser.post_json("/auth/login", body)


def _refuse_second_use(browser: Client, challenge: dict[str, Any], answer: AgentAnswer) -> None:
    again = _post_token(browser, challenge, answer)
    if again.json().get("code") != "challenge_not_found":
        raise DemoFailed(f"a used challenge got {again.status}", _LOOK_AT_LOG)


def _require(answer: Answer, status: int, what: str) -> Answer:
    if answer.status != status:
        told = answer.json()
        raise DemoFailed(
            f"{what}: status {answer.status}, {told.get('code')}: {told.get('title')}",
            str(told.get("next_step", _LOOK_AT_LOG)),
        )
    return answer


def _write_private(path: Path, text: str) -> Path:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
    return path
