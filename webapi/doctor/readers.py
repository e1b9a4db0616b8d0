"""PC/SC service, readers and cards: a citizen's computer has them, a server has not."""

from collections.abc import Iterator

from pkcs11_bridge.errors import ReaderServiceDown, TokenError
from webapi.operations.checks import CheckResult, CheckState

SERVICE, READERS, CARD = "pcsc-service", "readers", "card"
NAMES = (SERVICE, READERS, CARD)


def check_readers(*, required: bool) -> Iterator[CheckResult]:
    """What is in the readers, without a PIN.

    Args:
        required: what is missing is a failure, not just a warning.
    """
    missing = CheckState.FAILED if required else CheckState.WARNING
    try:
        # Only where cards are read is the reader library installed.
        from pkcs11_bridge.readers import list_readers  # noqa: PLC0415
    except ImportError:
        remedy = "Where cards are to be read, install the dependencies `agent`."
        yield CheckResult(SERVICE, missing, "the reader library pyscard is not installed", remedy)
        return
    try:
        readers = list_readers()
    except ReaderServiceDown as e:
        remedy = "Where cards are to be read, install and start it: systemctl start pcscd.socket"
        yield CheckResult(SERVICE, missing, str(e), remedy)
        return
    except TokenError as e:
        yield CheckResult(SERVICE, missing, str(e), "Plug the reader in again, restart pcscd.")
        return
    yield CheckResult.ok(SERVICE, "it answers")
    if not readers:
        remedy = "Connect a reader; a USB reader needs the package libccid."
        yield CheckResult(READERS, missing, "no reader is connected", remedy)
        return
    yield CheckResult.ok(READERS, ", ".join(reader.name for reader in readers))
    holding = [reader.name for reader in readers if reader.atr is not None]
    if holding:
        yield CheckResult.ok(CARD, ", ".join(holding))
    elif any(reader.mute for reader in readers):
        yield CheckResult(CARD, missing, "a card does not answer", "Put it in the other way round.")
    else:
        yield CheckResult(CARD, missing, "no reader holds a card", "Put the card in.")
