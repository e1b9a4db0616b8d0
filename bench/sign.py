"""`sign`: signatures through the pool, without their verification, against the raw PKCS#11 loop.

The reference is a C program (raw_sign.c) that does nothing but C_SignInit and C_Sign, in as many
processes, each with as many sessions: one. In each of the pool's processes two threads ask, as a
pool is there for several.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

from bench.compiled import compiled
from bench.rows import Row
from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.keyring import KeyAlgorithm, generate_key, open_key
from pkcs11_bridge.pin import FilePinSource
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.uri import Pkcs11Uri
from tests.support.softhsm import make_softhsm

NAME = "sign"
MIN_RATIO = 0.85
SECONDS = 0.7
ROUNDS = 4
CALLERS = 2
PROCESSES = (1, 2)
KINDS = {KeyAlgorithm.EC_P256: "ecdsa", KeyAlgorithm.RSA_2048: "rsa"}
_DIGEST = bytes(32)


def rows() -> list[Row]:
    """The worst of all, and each key with each number of processes by itself."""
    with tempfile.TemporaryDirectory(prefix="tamga-bench-sign-") as name:
        folder = Path(name)
        raw = compiled("raw_sign", folder)
        softhsm = make_softhsm(folder / "hsm")
        with patch.dict(os.environ, softhsm.environment):
            token = replace(softhsm.make_token("bench"), sessions=1)
            with TokenSessions(token) as sessions:
                for kind in KINDS:
                    generate_key(sessions, kind, kind)
            by_kind = [_row(raw, token, kind, number) for kind in KINDS for number in PROCESSES]
    worst = min(by_kind, key=lambda row: row.ratio)
    return [replace(worst, name=NAME), *by_kind]


def _row(raw: Path, token: TokenConfig, kind: KeyAlgorithm, processes: int) -> Row:
    assert isinstance(token.pin_source, FilePinSource)
    where = [str(token.module), str(token.uri.token), str(token.pin_source.path), str(kind)]
    loop = [str(raw), *where, KINDS[kind], str(SECONDS)]
    pool = [sys.executable, "-m", __name__, json.dumps([*where, str(token.latch_directory)])]
    # In turn, so that a machine that slows down slows both alike; the best of each counts.
    rates = [(_rate(loop, processes), _rate(pool, processes)) for _ in range(ROUNDS)]
    reference, value = (max(column) for column in zip(*rates, strict=True))
    ratio = value / reference
    return Row(
        name=f"{NAME}-{kind}-{processes}",
        value=round(value),
        unit="signatures/s",
        reference=round(reference),
        ratio=round(ratio, 2),
        target=f">= {MIN_RATIO} x the raw loop, {processes} process(es)",
        ok=ratio >= MIN_RATIO,
    )


def _rate(command: Sequence[str], processes: int) -> float:
    """Signatures per second of so many processes that begin together."""
    running = []
    for _ in range(processes):
        # One after the other: SoftHSM misreads its list of tokens while another process starts.
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        running.append(process)
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{command[0]} did not begin")
    for process in running:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return sum(int(process.communicate()[0]) for process in running) / SECONDS


def _sign_through_pool(where: Sequence[str]) -> None:
    module, label, pin_file, key_label, latches = where
    config = TokenConfig(
        module=Path(module),
        uri=Pkcs11Uri(token=label),
        pin_source=FilePinSource(Path(pin_file)),
        latch_directory=Path(latches),
        sessions=1,
    )
    made = [0] * CALLERS
    with TokenSessions(config) as sessions:
        key = open_key(sessions, Pkcs11Uri(object=key_label))
        key.sign_digest(_DIGEST, "sha256")
        print("ready", flush=True)
        sys.stdin.readline()
        end = time.perf_counter() + SECONDS

        def ask(number: int) -> None:
            while time.perf_counter() < end:
                key.sign_digest(_DIGEST, "sha256")
                made[number] += 1

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    print(sum(made))


if __name__ == "__main__":
    _sign_through_pool(json.loads(sys.argv[1]))
