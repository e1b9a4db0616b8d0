"""Kept answers in memory, with the rules of the real store."""

import threading
from dataclasses import dataclass, field
from datetime import datetime

from ocsp.cache import KeptAnswer


def _age(answer: KeptAnswer) -> tuple[datetime, datetime, bool]:
    return (answer.this_update, answer.produced_at, not answer.is_good)


@dataclass
class MemoryAnswers:
    """`ocsp.cache.AnswerStore`; `answers` may be tampered with."""

    answers: dict[bytes, KeptAnswer] = field(default_factory=dict)
    claims: dict[bytes, datetime] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, certificate_sha256: bytes, *, at: datetime) -> KeptAnswer | None:
        with self.lock:
            return self.answers.get(certificate_sha256)

    def keep(self, answer: KeptAnswer, *, at: datetime) -> None:
        with self.lock:
            there = self.answers.get(answer.certificate_sha256)
            refuses = there is not None and there.is_good and not answer.is_good
            if there is None or refuses or _age(there) <= _age(answer):
                self.answers[answer.certificate_sha256] = answer

    def claim(self, certificate_sha256: bytes, *, until: datetime, at: datetime) -> bool:
        with self.lock:
            if self.claims.get(certificate_sha256, at) > at:
                return False
            self.claims[certificate_sha256] = until
            return True

    def release(self, certificate_sha256: bytes) -> None:
        with self.lock:
            self.claims.pop(certificate_sha256, None)
