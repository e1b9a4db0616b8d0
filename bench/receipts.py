"""`receipts-single`, `receipts-batch`, `receipts-slow-hsm`: the whole service under load.

Real web processes, real worker, SoftHSM, PostgreSQL with fsync and synchronous commits; generator
and all share one machine. Requests are signed before the clock runs, and every receipt is
verified offline after it has stopped.
"""

import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sqlalchemy import func, select

from bench.load import Exchange, Outcome, Target, receipts_in, run_load
from bench.requests import ballot, batch, http_request, single
from bench.rows import Row
from bench.running import ELECTION, RunningService, running_service
from signer.receipts.policy import Policy
from signer.receipts.verify import verify_receipt
from tests.support.mischief import compile_mischief
from webapi import clock
from webapi.storage.ballot_log import log_checkpoints
from webapi.storage.engine import opened_engine
from webapi.storage.realm import Realm

SINGLES = 10_000
SINGLE_TARGET = 1_000
SIGNATURES_TARGET = 200
SINGLE_CONNECTIONS = 128

BATCHES = 40
BATCH_SIZE = 1_000
BATCH_TARGET = 5_000
BATCH_CONNECTIONS = 8

SLOW_SECONDS = 60
SLOW_PER_SECOND = 50
CHALLENGES_PER_SECOND = 3
HSM_PER_SECOND = 14
SLOW_TARGET = 1.0
STOCK_SECONDS = 5.0

BARE_REQUESTS = 10_000


def rows() -> list[Row]:
    """Take the three measurements, each on a service of its own."""
    return [_single(), _batch(), _slow_hsm()]


def _single() -> Row:
    with running_service() as service:
        target = _target(service, SINGLE_CONNECTIONS)
        bare = http_request("GET", "/health/live", {})
        reference = run_load(target, [Exchange(bare, bare)] * BARE_REQUESTS)
        at = clock.now()
        outcome = run_load(target, [single(service, number, at) for number in range(SINGLES)])
        count = _verify(service, outcome)
        per_signature = count / _checkpoints(service)
    value, requests = count / outcome.seconds, BARE_REQUESTS / reference.seconds
    _tell("receipts-single", outcome, f"{per_signature:.0f} receipts per signature of each key")
    return Row(
        name="receipts-single",
        value=round(value),
        unit="1/s",
        reference=round(requests),
        ratio=round(value / requests, 3),
        target=(
            f">= {SINGLE_TARGET}/s, >= {SIGNATURES_TARGET} receipts per signature of each key; "
            "reference: empty requests to the same service"
        ),
        ok=value >= SINGLE_TARGET and per_signature >= SIGNATURES_TARGET,
    )


def _batch() -> Row:
    with running_service() as service:
        target = _target(service, BATCH_CONNECTIONS)
        at = clock.now()
        bare = http_request("GET", "/health/live", {})
        reference = run_load(target, [Exchange(bare, bare)] * BARE_REQUESTS)
        batches = [
            batch(service, range(start, start + BATCH_SIZE), at)
            for start in range(0, BATCHES * BATCH_SIZE, BATCH_SIZE)
        ]
        outcome = run_load(target, batches)
        count = _verify(service, outcome)
        per_signature = count / _checkpoints(service)
    value, requests = count / outcome.seconds, BARE_REQUESTS / reference.seconds
    _tell("receipts-batch", outcome, f"{per_signature:.0f} receipts per signature of each key")
    return Row(
        name="receipts-batch",
        value=round(value),
        unit="1/s",
        reference=round(requests),
        ratio=round(value / requests, 3),
        target=f">= {BATCH_TARGET}/s; reference: empty requests to the same service",
        ok=value >= BATCH_TARGET,
    )


def _slow_hsm() -> Row:
    with tempfile.TemporaryDirectory(prefix="tamga-bench-module-") as name:
        folder = Path(name)
        module = _slow_module(folder)
        environment = {
            **{f"TAMGA_TOKENS__{zone}__MODULE": str(module) for zone in ("LOGIN", "RECEIPTS")},
            "TAMGA_LOGIN__CHALLENGES_PER_SOURCE_BURST": "10000",
            "TAMGA_LOGIN__CHALLENGES_PER_SOURCE_PER_MINUTE": "60000",
            "MISCHIEF_SIGN_MS": str(round(1000 / HSM_PER_SECOND)),
            "MISCHIEF_SIGN_QUEUE": str(folder / "queue"),
        }
        with running_service(environment) as service, ThreadPoolExecutor(1) as pool:
            # The stock of challenges is filled once, which takes such an HSM some seconds.
            time.sleep(STOCK_SECONDS)
            at = clock.now()
            ballots = [
                single(service, number, at) for number in range(SLOW_SECONDS * SLOW_PER_SECOND)
            ]
            ask = http_request(
                "POST", "/auth/challenge", {"Content-Type": "application/json"}, b"{}"
            )
            challenges = pool.submit(
                run_load,
                _target(service, CHALLENGES_PER_SECOND),
                [Exchange(ask, ask)] * (SLOW_SECONDS * CHALLENGES_PER_SECOND),
                per_second=CHALLENGES_PER_SECOND,
            )
            outcome = run_load(
                _target(service, SINGLE_CONNECTIONS),
                ballots,
                per_second=SLOW_PER_SECOND,
                again=0.1,
            )
            drawn = sum(item.refused is None for item in challenges.result().fetched)
            count = _verify(service, outcome)
    waits = sorted(item.seconds for item in outcome.fetched)
    value, reference = waits[int(len(waits) * 0.99)], 1 / HSM_PER_SECOND
    lost = len(ballots) - count
    _tell("receipts-slow-hsm", outcome, f"{lost} lost, {drawn} challenges drawn beside them")
    return Row(
        name="receipts-slow-hsm",
        value=round(value, 2),
        unit="s (p99)",
        reference=round(reference, 3),
        ratio=round(value / reference, 1),
        target=(
            f"<= {SLOW_TARGET} s at {SLOW_PER_SECOND}/s for {SLOW_SECONDS} s, none lost; "
            "reference: one signature of this HSM"
        ),
        ok=value <= SLOW_TARGET and not lost and drawn == SLOW_SECONDS * CHALLENGES_PER_SECOND,
    )


def _target(service: RunningService, connections: int) -> Target:
    return Target(service.ports.https, service.home.root_pem, connections)


def _verify(service: RunningService, outcome: Outcome) -> int:
    """Verify every receipt with its own ballot; returns how many there are.

    Raises:
        ReceiptRefused: one does not verify.
        ValueError: two say the same index, or a ballot got none.
    """
    policy = Policy.parse(service.get(f"/log/{ELECTION}/policy"))
    receipts = [
        receipt
        for item in outcome.fetched
        if item.body is not None
        for receipt in receipts_in(item.body)
    ]
    indexes = {
        verify_receipt(receipt, ballot(number), policy).index
        for number, receipt in enumerate(receipts)
    }
    if len(indexes) != len(receipts) or any(item.body is None for item in outcome.fetched):
        raise ValueError("a receipt is missing, or two ballots have one place")
    return len(receipts)


def _checkpoints(service: RunningService) -> int:
    """How many checkpoints of ballots were signed, each once by each key."""
    query = select(func.count()).select_from(log_checkpoints).where(log_checkpoints.c.size > 1)
    with opened_engine(service.ballots, Realm.BALLOTS) as engine, engine.begin() as connection:
        count: int = connection.execute(query).scalar_one()
    return count


def _slow_module(folder: Path) -> Path:
    """SoftHSM behind a queue in which each signature takes its time, whoever asks for it."""
    module = folder / "slow.so"
    compile_mischief(module)
    return module


def _tell(name: str, outcome: Outcome, more: str) -> None:
    waits: Sequence[float] = sorted(item.seconds for item in outcome.fetched)
    requests = sum(item.requests for item in outcome.fetched)
    print(
        f"{name}: {outcome.seconds:.1f} s, {requests} requests, "
        f"p50 {waits[len(waits) // 2]:.2f} s, p99 {waits[int(len(waits) * 0.99)]:.2f} s, "
        f"generator {outcome.processor_seconds:.1f} s of processor; {more}"
    )
