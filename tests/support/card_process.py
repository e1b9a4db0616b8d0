"""A process that uses one virtual card again and again, as an agent that stays does.

Usage: python -m tests.support.card_process MODULE CONTROL TASK. CONTROL is the virtual card's
control socket; the answer is one JSON line.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from pkcs11_bridge import readers
from pkcs11_bridge.agent.card_signature import CardAccess
from pkcs11_bridge.agent.card_trial import try_card
from pkcs11_bridge.agent.certificate_choice import AuthenticationCertificate
from pkcs11_bridge.agent.opensc_conf import reset_on_disconnect
from pkcs11_bridge.agent.person import PinQuestion
from pkcs11_bridge.agent.refusals import REFUSALS, refusal_members
from pkcs11_bridge.card import CardSession, open_card
from pkcs11_bridge.card_monitor import CardMonitor
from pkcs11_bridge.encoding import raw_to_der
from pkcs11_bridge.mechanisms import KeyAlgorithm
from pkcs11_bridge.pin import Pin, PinpadEntry
from pkcs11_bridge.readers import Missing, Reader
from softhsm_config.virtual_card import control
from softhsm_config.virtual_card.faults import Faults
from tests.support.card import NOW, PIN

WAIT_SECONDS = 30.0
AT = NOW + timedelta(days=1)
NOTICED_SECONDS = 1.5
"""pcscd polls: a card that is back before it saw it leave stays unseen. Nobody is so quick."""
READ_CARD_HOLDER = bytes.fromhex("00CB3FFF055C035FC10200")
STEPS = ("found", "asked", "verified", "signing", "signed")
"""When the card is pulled: before the PIN prompt, during it, after C_Login, in C_Sign, after."""


@dataclass
class Desk:
    """The card's control, and a person who pulls the card at one step."""

    module: Path
    socket: Path
    step: str

    def ask(self, command: str, **arguments: object) -> None:
        control.ask(self.socket, {"command": command, **arguments}, timeout=WAIT_SECONDS)

    def at(self, step: str) -> None:
        if step == self.step:
            self.ask("remove")

    # --- readers

    def wait_for_card(
        self, seconds: float, reader_name: str | None, waiting: Callable[[Missing], None]
    ) -> Reader:
        found = readers.wait_for_card(seconds, reader_name, waiting)
        self.at("found")
        return found

    # --- the person

    def told_waiting(self, missing: Missing) -> None:
        assert not self.step, "the card is in"  # when it is put back, it is waited for

    def choose(self, candidates: Sequence[AuthenticationCertificate]) -> AuthenticationCertificate:
        raise AssertionError("there is one")

    def told(self, question: PinQuestion) -> None:
        assert question.tries_left == 3

    def spends_final_try(self) -> bool:
        raise AssertionError("three are left")

    def pin(self) -> Pin:
        self.at("asked")
        return Pin(PIN)

    # --- the card

    @contextmanager
    def open_card(self, module: Path, reader_name: str) -> Iterator[Any]:
        with open_card(module, reader_name) as card:
            yield SimpleNamespace(
                certificates=card.certificates,
                tries_left=card.tries_left,
                has_pin_pad=card.has_pin_pad,
                login=lambda *arguments: self.logged_in(card, *arguments),
                sign_digest=lambda *arguments: self.signed(card, *arguments),
            )

    def logged_in(self, card: CardSession, slot_id: int, pin: Pin) -> None:
        card.login(slot_id, pin)
        self.at("verified")

    def signed(self, card: CardSession, *arguments: Any) -> bytes:
        if self.step == "signing":
            self.ask("faults", faults=Faults(remove_while_signing=True).to_json())
        signature = card.sign_digest(*arguments)
        self.at("signed")
        return signature

    def log_in(self) -> dict[str, str | int]:
        """One signature as a login makes it; empty if it went well."""
        way: Any = SimpleNamespace(
            wait_for_card=self.wait_for_card,
            card_has_gone=readers.card_has_gone,
            pin_tries_left=readers.pin_tries_left,
            reset_card=readers.reset_card,
        )
        try:
            try_card(
                lambda _: self.module,
                self,
                at=AT,
                wait_seconds=WAIT_SECONDS,
                cards=CardAccess(readers=way, open_card=self.open_card),
            )
        except REFUSALS as e:
            return refusal_members(e, "en")
        return {}


def pull(desk: Desk) -> object:
    """A login whose card is pulled, the card back, another login in the same process."""
    first = desk.log_in()
    deadline = time.monotonic() + WAIT_SECONDS
    while any(one.atr is not None or one.mute for one in readers.list_readers()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(NOTICED_SECONDS)
    desk.step = ""
    desk.ask("insert")
    return {"first": first, "second": desk.log_in()}


def again(desk: Desk) -> object:
    """Two signatures by the key that asks for the PIN each time (PIV 9C), by one session."""
    reader = readers.wait_for_card(WAIT_SECONDS)
    with reset_on_disconnect(), open_card(desk.module, reader.name) as card:
        certificate = next(one for one in card.certificates() if one.id == b"\2")
        pad = card.has_pin_pad(certificate.slot_id)
        card.login(certificate.slot_id, PinpadEntry() if pad else Pin(PIN))
        key = x509.load_der_x509_certificate(certificate.unverified_der).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        for text in (b"one", b"two"):
            hash_ = hashes.Hash(hashes.SHA256())
            hash_.update(text)
            raw = card.sign_digest(certificate, KeyAlgorithm.EC_P256, hash_.finalize(), "sha256")
            key.verify(raw_to_der(raw), text, ec.ECDSA(hashes.SHA256()))
    return {"pin_pad": pad, "verified": 2}


def exchange(_desk: Desk) -> object:
    """Seconds that each of many short commands took."""
    reader = readers.wait_for_card(WAIT_SECONDS)
    took = []
    with readers._connected(reader.name, readers.scard.SCARD_LEAVE_CARD) as card:
        for _ in range(50):
            began = time.perf_counter()
            assert readers._status_word(card, READ_CARD_HOLDER) == 0x9000
            took.append(time.perf_counter() - began)
    return took


def watch(desk: Desk) -> object:
    """The events of a removal, a return, and of the PC/SC service begun anew."""
    told: list[str] = []
    with CardMonitor() as monitor:

        def await_event(kind: str) -> None:
            deadline = time.monotonic() + WAIT_SECONDS
            while told[-1:] != [kind]:
                assert time.monotonic() < deadline, told
                event = monitor.next_event(WAIT_SECONDS)
                if event is not None:
                    told.append(event.kind.value)

        await_event("card-inserted")
        for command, kind in (
            ("remove", "card-removed"),
            ("insert", "card-inserted"),
            ("restart-service", "service-down"),
            ("state", "card-inserted"),
        ):
            desk.ask(command)
            await_event(kind)
    return told


def main() -> None:
    module, socket, task = sys.argv[1:4]
    desk = Desk(Path(module), Path(socket), task)
    answer = {"again": again, "exchange": exchange, "watch": watch}.get(task, pull)(desk)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
