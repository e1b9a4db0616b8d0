"""A cluster of two real tokens: one SoftHSM token through two modules, of which one misbehaves."""

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from pkcs11_bridge.cluster import ClusterMember, KeyCluster, open_cluster
from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.errors import KeyMismatch, TokenHung
from pkcs11_bridge.keyring import KeyAlgorithm, generate_key, open_key
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.sign_counts import sign_counts
from pkcs11_bridge.uri import Pkcs11Uri
from signer.backend import PERMIT_LIFE
from signer.errors import PermitAlreadySpent
from signer.hsm_backend import HsmBackend
from signer.payload import Purpose, login_challenge_payload
from signer.permit import reserve_permits
from tests.support.certificates import NOW
from tests.support.faults import await_fact
from tests.support.ledger import MemoryLedger
from tests.support.mischief import Mischief, Trick
from tests.support.softhsm import SoftHsm

DIGEST = hashlib.sha256(b"text").digest()
PAYLOAD = login_challenge_payload(b"tamga/login-challenge/1\x00" + b"rest")
DEVICE_ERROR = 0x30
HANGING_SECONDS = 1.0
"""After so long a call that is to hang is given up: it has got into the token by then."""


@pytest.fixture
def sessions(
    token: TokenConfig, mischief_module: Path, mischief: Mischief
) -> Iterator[tuple[TokenSessions, TokenSessions]]:
    """The sound token, and the one that takes orders."""
    del mischief
    with ExitStack() as stack:
        sound = stack.enter_context(TokenSessions(token))
        generate_key(sound, "key", KeyAlgorithm.EC_P256)
        bad = replace(token, module=mischief_module, sessions=2)
        yield sound, stack.enter_context(TokenSessions(bad))


def cluster_of(
    sessions: tuple[TokenSessions, ...], stopwatch: Callable[[], float] = time.monotonic
) -> KeyCluster:
    members = [
        ClusterMember(str(each.config.module), partial(open_key, each, Pkcs11Uri(object="key")))
        for each in sessions
    ]
    return open_cluster(members, deadline_seconds=60, stopwatch=stopwatch)


def signatures(sessions: TokenSessions) -> int:
    return sum(
        count
        for token, count in sign_counts().items()
        if (token.module, token.label) == (sessions.config.module, sessions.label)
    )


def test_both_sign(sessions: tuple[TokenSessions, TokenSessions]) -> None:
    cluster = cluster_of(sessions)
    for _ in range(10):
        assert len(cluster.sign_digest(DIGEST, "sha256")) == 64
    assert [signatures(each) for each in sessions] == [5, 5]


def test_one_permit_is_one_signature_that_leaves(
    sessions: tuple[TokenSessions, TokenSessions], mischief: Mischief
) -> None:
    sound, bad = sessions
    ledger = MemoryLedger()
    backend = HsmBackend({Purpose.LOGIN_CHALLENGE: cluster_of(sessions)})
    # It signs, and its answer is lost: the worst that a fail-over can meet with.
    mischief.order("C_Sign", Trick.AFTER, DEVICE_ERROR)
    for _ in range(4):
        [permit] = reserve_permits(
            [PAYLOAD], owner="login", ledger=ledger, at=NOW, life=PERMIT_LIFE
        )
        assert backend.sign(permit, PAYLOAD, at=NOW).purpose is Purpose.LOGIN_CHALLENGE
        with pytest.raises(PermitAlreadySpent):
            backend.sign(permit, PAYLOAD, at=NOW)
    assert mischief.calls()["C_Sign"] >= 1
    assert (signatures(bad), signatures(sound)) == (0, 4)


def test_a_token_that_hangs_costs_its_call_once(
    sessions: tuple[TokenSessions, TokenSessions], mischief: Mischief
) -> None:
    _, bad = sessions
    now = [100.0]
    # While it stands nobody finds out whether the token that is kept out is well again.
    cluster = cluster_of(sessions, lambda: now[0])
    patient = bad.config
    bad.config = replace(patient, call_seconds=HANGING_SECONDS)
    with mischief.hanging("C_Sign"):
        for _ in range(6):
            assert len(cluster.sign_digest(DIGEST, "sha256")) == 64
        assert bad.hung == 1
        with pytest.raises(TokenHung):
            open_key(bad, Pkcs11Uri(object="key")).sign_digest(DIGEST, "sha256")
    # Sessions that are closed before let nobody finalise the module in this process any more.
    await_fact(lambda: bad.hung == 0)
    assert signatures(bad) == 0
    bad.config = patient

    def signs_again() -> bool:
        now[0] += 60
        cluster.sign_digest(DIGEST, "sha256")
        return signatures(bad) > 0

    await_fact(signs_again)


def test_two_tokens_with_different_keys_are_no_cluster(
    sessions: tuple[TokenSessions, TokenSessions], softhsm: SoftHsm
) -> None:
    sound, _ = sessions
    with TokenSessions(softhsm.make_token()) as other:
        generate_key(other, "key", KeyAlgorithm.EC_P256)
        with pytest.raises(KeyMismatch):
            cluster_of((sound, other))
