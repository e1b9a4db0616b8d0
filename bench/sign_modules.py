"""How fast each real module signs through the bridge, in one thread, against SoftHSM in process."""

from collections.abc import Iterator
from contextlib import ExitStack

from bench.rows import Row
from pkcs11_bridge.keyring import KeyAlgorithm, SignatureAlgorithm
from tests.support.modules import RIGS, ModuleWorker, module_rig, worker

ROUNDS = 3
SECONDS = 1.0
SOFTHSM = "libsofthsm2"
KINDS = {
    SignatureAlgorithm.ES256: KeyAlgorithm.EC_P256,
    SignatureAlgorithm.RS256: KeyAlgorithm.RSA_2048,
}
"""What every one of the modules signs with."""


def rows() -> Iterator[Row]:
    """``sign-MODULE-ALGORITHM``: the modules take turns, each in a process of its own."""
    with ExitStack() as stack:
        users = {
            name: stack.enter_context(worker(stack.enter_context(module_rig(name))))
            for name in RIGS
        }
        for algorithm in KINDS:
            rates = _best_rates(users, algorithm)
            reference = rates[SOFTHSM]
            for name, rate in rates.items():
                yield Row(
                    name=f"sign-{users[name].rig.name}-{algorithm}".lower(),
                    value=round(rate, 1),
                    unit="signatures/s",
                    reference=round(reference, 1),
                    ratio=round(rate / reference, 3),
                    target="none: a figure beside SoftHSM's, one thread",
                    ok=True,
                )


def _best_rates(users: dict[str, ModuleWorker], algorithm: SignatureAlgorithm) -> dict[str, float]:
    rates = dict.fromkeys(users, 0.0)
    for _ in range(ROUNDS):
        for name, user in users.items():
            uri = user.rig.keys[KINDS[algorithm]]
            rate = user.ask("rate", uri=uri, algorithm=algorithm, seconds=SECONDS)
            rates[name] = max(rates[name], rate)
    return rates
