"""Signers under ranges of permits, one for each key of a rotation: part of the wiring."""

from contextlib import ExitStack

import structlog

from signer.backend import SigningBackend
from signer.payload import Purpose
from signer.permit_range import RangeLedger
from signer.range_signer import RangeSigner, RangeTerms
from signer.rotation import Rotated

_log = structlog.get_logger(__name__)


def range_signers(
    backends: Rotated[SigningBackend],
    ledger: RangeLedger,
    *,
    purpose: Purpose,
    owner: str,
    terms: RangeTerms,
    closing: ExitStack,
) -> Rotated[RangeSigner]:
    """A signer for each key that signs now or will by itself.

    Args:
        backends: hold the keys.
        ledger: records ranges.
        purpose: whose keys they are.
        owner: for whom is signed.
        terms: size and life of the ranges.
        closing: closes them.
    """

    def make(_key: str, backend: SigningBackend) -> RangeSigner:
        signer = RangeSigner(
            backend, ledger, purpose=purpose, owner=owner, terms=terms, failed=_tell_failed
        )
        closing.callback(signer.close)
        return signer

    return backends.map(make)


def _tell_failed(error: Exception) -> None:
    # The class alone: the text of an error may hold what no log may.
    _log.error("permit_range_failed", error_class=type(error).__qualname__)
