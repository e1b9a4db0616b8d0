"""A process that uses one token through one module, and does what it is asked line by line.

A module is loaded once per process, by what the environment says at that moment, and may take its
process down with it: so each module that is tested has a process of its own, started by
`tests.support.modules`. Each line of standard input is a task as a JSON object; each line of output
says what it told, or the class of the refusal.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pkcs11_bridge.capabilities import read_capabilities
from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.errors import TokenError
from pkcs11_bridge.keyring import KeyAlgorithm, SignatureAlgorithm, generate_key, open_key
from pkcs11_bridge.pin import FilePinSource
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.uri import Pkcs11Uri
from tests.support.permit_load import PermitLoad
from tests.support.signatures import counts_by_label, verify_signature


class Worker:
    """The token's sessions, and what may be asked of them."""

    def __init__(self, config: TokenConfig) -> None:
        self.sessions = TokenSessions(config)
        self.load: PermitLoad | None = None

    def describe(self) -> dict[str, str]:
        told = self.sessions.describe()
        return {"library": told.library, "label": told.label, "model": told.model}

    def capabilities(self) -> dict[str, list[str]]:
        """The kinds of key that sign with each algorithm."""
        table = self.sessions.perform(lambda pooled: read_capabilities(pooled.raw.token)).table()
        return {row.algorithm: [*row.keys] for row in table}

    def generate(self, label: str, kind: str) -> str:
        return str(generate_key(self.sessions, label, KeyAlgorithm(kind)).uri)

    def key(self, uri: str) -> dict[str, Any]:
        key = open_key(self.sessions, Pkcs11Uri.parse(uri))
        public_key = key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return {
            "kind": key.algorithm,
            "algorithms": sorted(key.signature_algorithms),
            "public_key": public_key.decode(),
        }

    def sign(self, uri: str, algorithm: str, message: str) -> str:
        key = open_key(self.sessions, Pkcs11Uri.parse(uri))
        return key.sign(SignatureAlgorithm(algorithm), bytes.fromhex(message)).hex()

    def sign_in_threads(
        self, uri: str, algorithm: str, threads: int, times: int
    ) -> dict[str, object]:
        """Every signature over a message of its own, verified at once."""
        key = open_key(self.sessions, Pkcs11Uri.parse(uri))
        wanted = SignatureAlgorithm(algorithm)
        told: list[str] = []

        def work(thread: int) -> None:
            for number in range(times):
                message = f"{thread} {number}".encode()
                try:
                    signature = key.sign(wanted, message)
                    verify_signature(key.public_key, wanted, signature, message)
                except Exception as e:  # noqa: BLE001 - whatever it is, the test shall see it
                    told.append(type(e).__name__)
                else:
                    told.append("ok")

        run_in_threads(work, threads)
        return {"ok": told.count("ok"), "others": sorted(set(told) - {"ok"})}

    def rate(self, uri: str, algorithm: str, seconds: float) -> float:
        """Signatures per second of one thread."""
        key = open_key(self.sessions, Pkcs11Uri.parse(uri))
        wanted = SignatureAlgorithm(algorithm)
        count, began = 0, time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            key.sign(wanted, b"message")
            count += 1
        return count / passed

    def begin_load(self, uri: str, threads: int) -> None:
        """Sign under permits until `end_load`."""
        self.load = PermitLoad(open_key(self.sessions, Pkcs11Uri.parse(uri)), threads)

    def has_signed_since(self, at: float) -> bool:
        """Whether a signature of the load was verified after this instant, monotonic seconds."""
        assert self.load is not None
        return self.load.last_signed_at() > at

    def end_load(self) -> dict[str, object]:
        assert self.load is not None
        return self.load.end().members()

    def open_with_pin(self, pin_file: str, times: int) -> list[str]:
        """What comes of logging in with another PIN, again and again."""
        self.sessions.close()
        other = replace(self.sessions.config, pin_source=FilePinSource(Path(pin_file)))
        told = [outcome(TokenSessions(other).open) for _ in range(times)]
        self.sessions = TokenSessions(self.sessions.config)
        return told

    def open_another(self, label: str) -> None:
        other = replace(self.sessions.config, uri=Pkcs11Uri(token=label))
        with TokenSessions(other):
            pass

    def reopen(self) -> None:
        self.sessions.close()
        self.sessions = TokenSessions(self.sessions.config)
        self.sessions.open()

    def counts(self) -> dict[str, int]:
        return counts_by_label()


def run_in_threads(work: Callable[[int], None], threads: int) -> None:
    running = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def outcome(step: Callable[[], object]) -> str:
    """The class of the refusal, with the tries left if it tells them, or "ok"."""
    try:
        step()
    except TokenError as e:
        tries = getattr(e, "tries_left", None)
        return type(e).__name__ if tries is None else f"{type(e).__name__} {tries}"
    return "ok"


def main(order: Mapping[str, str]) -> None:
    config = TokenConfig(
        module=Path(order["module"]),
        uri=Pkcs11Uri(token=order["token"]),
        pin_source=FilePinSource(Path(order["pin_file"])),
        latch_directory=Path(order["latches"]),
        sessions=8,
        wait_seconds=30.0,
    )
    # What a module prints goes elsewhere.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    worker = Worker(config)
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer = {"told": getattr(worker, asked.pop("task"))(**asked)}
        except TokenError as e:
            answer = {"refused": type(e).__name__}
        print(json.dumps(answer), file=answers, flush=True)
    worker.sessions.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
