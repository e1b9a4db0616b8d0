"""Load on real modules: a TPM in many threads, and a token's server that is killed again and again.

The signatures are made under permits; each permit is accounted for.
"""

import time
from contextlib import ExitStack

import pytest

from pkcs11_bridge.keyring import KeyAlgorithm, SignatureAlgorithm
from tests.support.modules import ModuleRig, worker

LOAD_SECONDS, AWAY_SECONDS = 0.3, 0.1
PATIENCE_SECONDS = 30.0
RECOVERY_SECONDS = 2.0
AWAY = {"DeviceUnavailable", "TokenNotFound", "TokenBusy"}
"""What a token may say while its server is away."""


def slowest_recovery(rig: ModuleRig, *, processes: int, threads: int, kills: int) -> float:
    """Kill and restart the server under load; seconds from a restart to a process's signature."""
    assert rig.away is not None
    uri = rig.keys[KeyAlgorithm.EC_P256]
    restarts = []
    with ExitStack() as stack:
        users = [stack.enter_context(worker(rig)) for _ in range(processes)]
        for user in users:
            user.ask("begin_load", uri=uri, threads=threads)
            user.await_signature()
        for _ in range(kills):
            time.sleep(LOAD_SECONDS)
            rig.away.take()
            time.sleep(AWAY_SECONDS)
            rig.away.bring_back()
            restarts.append(time.monotonic())
            for user in users:
                user.await_signature(after=restarts[-1])
        accounts = [user.ask("end_load") for user in users]
    for told in accounts:
        assert told["faults"] == {}
        assert told["recorded"] == told["spent"]
        assert told["spent"] == len(told["signed_at"]) + sum(told["refused"].values())
        assert told["refused"].keys() <= AWAY
        assert sum(told["refused"].values()) >= kills
    recoveries: list[float] = [
        next(at for at in told["signed_at"] if at > restart) - restart
        for told in accounts
        for restart in restarts
    ]
    return max(recoveries)


@pytest.mark.parametrize("rig", ["p11-kit-client"], indirect=True)
def test_a_server_that_is_killed_under_load(rig: ModuleRig) -> None:
    assert slowest_recovery(rig, processes=1, threads=2, kills=1) < PATIENCE_SECONDS


@pytest.mark.long
@pytest.mark.parametrize("rig", ["p11-kit-client"], indirect=True)
def test_a_server_that_is_killed_ten_times(rig: ModuleRig) -> None:
    assert slowest_recovery(rig, processes=2, threads=8, kills=10) < RECOVERY_SECONDS


@pytest.mark.long
@pytest.mark.parametrize("rig", ["libtpm2_pkcs11"], indirect=True)
def test_a_tpm_that_signs_in_16_threads_of_two_processes(rig: ModuleRig) -> None:
    order = {"uri": rig.keys[KeyAlgorithm.EC_P256], "algorithm": SignatureAlgorithm.ES256}
    with worker(rig) as first, worker(rig) as second:
        for user in (first, second):
            user.begin("sign_in_threads", threads=8, times=125, **order)
        for user in (first, second):
            assert user.answer() == {"ok": 1000, "others": []}
