"""Threads that sign under permits until they are told to stop, and an account of each permit."""

import secrets
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pkcs11_bridge.agent import challenge_proof
from pkcs11_bridge.errors import TokenError
from pkcs11_bridge.keyring import SignatureAlgorithm, TokenKey
from signer.errors import PermitAlreadySpent
from signer.hsm_backend import HsmBackend
from signer.payload import Payload, Purpose, login_challenge_payload
from signer.permit import SigningPermit
from tests.support.ledger import MemoryLedger, permit_of
from tests.support.signatures import verify_signature

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
PAUSE_SECONDS = 0.01


@dataclass(frozen=True)
class Account:
    """What became of the permits.

    Attributes:
        recorded: permits that the ledger recorded.
        spent: permits that it spent.
        signed_at: when each signature was verified, monotonic seconds, in order.
        refused: how often each class of token error was met.
        faults: everything that must not happen, by class.
    """

    recorded: int
    spent: int
    signed_at: Sequence[float]
    refused: Counter[str]
    faults: Counter[str]

    def members(self) -> dict[str, object]:
        return {
            "recorded": self.recorded,
            "spent": self.spent,
            "signed_at": list(self.signed_at),
            "refused": dict(self.refused),
            "faults": dict(self.faults),
        }


class PermitLoad:
    """Signs with one P-256 key, in threads, from now on."""

    def __init__(self, key: TokenKey, threads: int) -> None:
        self._key = key
        self._backend = HsmBackend({Purpose.LOGIN_CHALLENGE: key})
        self._ledger = MemoryLedger()
        self._signed_at: list[float] = []
        self._refused: list[str] = []
        self._faults: list[str] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._work) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def last_signed_at(self) -> float:
        """When a signature was verified last, monotonic seconds; 0 before the first."""
        return self._signed_at[-1] if self._signed_at else 0.0

    def end(self) -> Account:
        """Stop, once every signature under way has come to its end."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        return Account(
            recorded=len(self._ledger.recorded),
            spent=len(self._ledger.spent),
            signed_at=sorted(self._signed_at),
            refused=Counter(self._refused),
            faults=Counter(self._faults),
        )

    def _work(self) -> None:
        while not self._ended.is_set():
            payload = _new_challenge()
            permit = permit_of(payload, self._ledger, at=NOW)
            try:
                self._sign(permit, payload)
            except TokenError as e:
                self._refused.append(type(e).__name__)
                time.sleep(PAUSE_SECONDS)
            except Exception as e:  # noqa: BLE001 - whatever it is, it must not happen
                self._faults.append(type(e).__name__)
            self._require_spent(permit, payload)

    def _sign(self, permit: SigningPermit, payload: Payload) -> None:
        signature = self._backend.sign(permit, payload, at=NOW)
        es256 = SignatureAlgorithm.ES256
        verify_signature(self._key.public_key, es256, signature.raw, payload.message)
        self._signed_at.append(time.monotonic())

    def _require_spent(self, permit: SigningPermit, payload: Payload) -> None:
        """Signed or not: the permit is good for nothing any more."""
        try:
            self._backend.sign(permit, payload, at=NOW)
        except PermitAlreadySpent:
            return
        except Exception as e:  # noqa: BLE001 - whatever it is, it must not happen
            self._faults.append(f"then {type(e).__name__}")
        else:
            self._faults.append("SignedAgain")


def _new_challenge() -> Payload:
    text = challenge_proof.signed_text(
        "https://login.example", secrets.token_bytes(24), bytes(4), 1_800_000_000
    )
    return login_challenge_payload(text)
