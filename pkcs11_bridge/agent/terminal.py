"""The person at a terminal: everything is told on standard error, the PIN is typed unseen."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import click

from pkcs11_bridge.agent import words
from pkcs11_bridge.agent.certificate_choice import (
    AuthenticationCertificate,
    refuse_ambiguity,
)
from pkcs11_bridge.agent.person import PinQuestion
from pkcs11_bridge.agent.words import Language, Words
from pkcs11_bridge.pin import FilePinSource, Pin
from pkcs11_bridge.readers import Missing

WARN_BEFORE_END = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Terminal:
    """A ``Person`` who reads and types, or a script with its options.

    Attributes:
        language: of everything that is told.
        at: now, timezone-aware.
        pin_file: read instead of asking.
        certificate: label, or id in hexadecimal, of the certificate to use among several.
        may_spend_final_try: said in advance; a script is never asked.
        interactive: whether somebody can answer questions.
    """

    language: Language
    at: datetime
    pin_file: Path | None = None
    certificate: str | None = None
    may_spend_final_try: bool = False
    interactive: bool = False

    def told_waiting(self, missing: Missing) -> None:
        """Say what is missing, once for each thing."""
        self._say(words.advice(missing, self.language))

    def choose(self, candidates: Sequence[AuthenticationCertificate]) -> AuthenticationCertificate:
        """By the option, else by a numbered list."""
        if self.certificate is not None:
            named = [one for one in candidates if self.certificate in _names(one)]
            return named[0] if len(named) == 1 else refuse_ambiguity(candidates)
        if not self.interactive:
            return refuse_ambiguity(candidates)
        for number, one in enumerate(candidates, 1):
            issued_by, until = self._of(words.ISSUED_BY), self._of(words.UNTIL)
            self._say(
                f"{number}. {one.label}: {one.holder}; {issued_by}: {one.issuer}; "
                f"{until}: {one.not_after:%Y-%m-%d}"
            )
        number = click.prompt(
            self._of(words.WHICH), type=click.IntRange(1, len(candidates)), err=True
        )
        return candidates[int(number) - 1]

    def told(self, question: PinQuestion) -> None:
        """The service, the holder, the tries; a certificate that ends soon; where to type."""
        standing = words.CONFIRMED if question.confirmed else words.NOT_CONFIRMED
        tries = question.tries_left
        told = self._of(words.UNKNOWN) if tries is None else str(tries)
        self._say(f"{self._of(words.SERVICE)}: {question.origin} ({self._of(standing)})")
        self._say(f"{self._of(words.CARD_OF)}: {question.holder}")
        self._say(f"{self._of(words.TRIES)}: {told}")
        if question.ends_at - self.at < WARN_BEFORE_END:
            self._say(f"{self._of(words.ENDS_SOON)}: {question.ends_at:%Y-%m-%d}")
        if question.on_pin_pad:
            self._say(self._of(words.ON_PIN_PAD))

    def spends_final_try(self) -> bool:
        """As said in advance, else asked; no is the answer of who says nothing."""
        if self.may_spend_final_try or not self.interactive:
            return self.may_spend_final_try
        return click.confirm(self._of(words.FINAL_TRY), default=False, err=True)

    def pin(self) -> Pin:
        """From the file, else typed."""
        if self.pin_file is not None:
            return FilePinSource(self.pin_file).read()
        return Pin(str(click.prompt(self._of(words.ASK_PIN), hide_input=True, err=True)))

    def _of(self, text: Words) -> str:
        return text.text(self.language)

    def _say(self, line: str) -> None:
        click.echo(line, err=True)


def somebody_is_there() -> bool:
    """Whether standard input is a terminal."""
    return sys.stdin.isatty()


def _names(certificate: AuthenticationCertificate) -> tuple[str, str]:
    return certificate.stored.label, certificate.stored.id.hex()
