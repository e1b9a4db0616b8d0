"""What stands in the way of a login: from the reader service to the PIN, which is not asked for."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pkcs11_bridge.agent.card_report import CardReport, Purpose, Standing, look_at_card
from pkcs11_bridge.agent.errors import (
    CertificateExpired,
    CertificateNotSuitable,
    CertificateNotYetValid,
    SigningCertificateOnly,
)
from pkcs11_bridge.agent.refusals import REFUSALS
from pkcs11_bridge.errors import PinLocked
from pkcs11_bridge.readers import Reader, wait_for_card


@dataclass(frozen=True, slots=True)
class Finding:
    """One step: what was seen, and the refusal that a login would end in here."""

    name: str
    seen: str
    refusal: Exception | None = None


def examine(
    module_for: Callable[[Reader], Path], at: datetime, reader_name: str | None = None
) -> Iterator[Finding]:
    """Look at one thing after the other, up to the first that stands in the way.

    Args:
        module_for: the PKCS#11 module for the card in a reader.
        at: now, timezone-aware.
        reader_name: the reader to look at, where several hold cards.
    """
    step = "card"
    try:
        reader = wait_for_card(0, reader_name)
        yield Finding(step, f"{reader.name}, ATR {(reader.atr or b'').hex()}")
        step = "module"
        module = module_for(reader)
        report = look_at_card(reader, module, at)
        yield Finding(step, str(module))
        step = "certificate"
        yield Finding(step, _login_certificate(report))
        step = "pin"
        yield Finding(step, _pin(report))
    except REFUSALS as e:
        yield Finding(step, str(e), e)


def _login_certificate(report: CardReport) -> str:
    """The one that a login would take; raises CertificateNotSuitable and its kinds."""
    suitable = [found for found in report.certificates if Purpose.LOGIN in found.purposes]
    if not suitable:
        if any(Purpose.SIGNING in found.purposes for found in report.certificates):
            raise SigningCertificateOnly("the card holds certificates for signing documents only")
        raise CertificateNotSuitable("the card holds no authentication certificate")
    in_time = [found for found in suitable if found.standing is Standing.IN_TIME]
    if in_time:
        return "; ".join(
            f"{found.label} of {found.subject}, until {found.not_after:%Y-%m-%d}"
            for found in in_time
        )
    first = suitable[0]
    if first.standing is Standing.EXPIRED and first.not_after is not None:
        raise CertificateExpired(first.not_after)
    if first.not_before is not None:
        raise CertificateNotYetValid(first.not_before)
    raise CertificateNotSuitable("the card's certificate has no dates")


def _pin(report: CardReport) -> str:
    if report.tries_left == 0:
        raise PinLocked("the card accepts no PIN until its issuer unblocks it")
    tries = "unknown" if report.tries_left is None else str(report.tries_left)
    where = ", typed on the reader" if report.pin_pad else ""
    return f"tries left: {tries}{where}"
