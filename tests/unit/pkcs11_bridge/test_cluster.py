"""Several tokens with one key: spread, fail-over, kept-out tokens, and one answer for one call."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pkcs11_bridge import errors
from pkcs11_bridge.breaker import FAILURES_TO_OPEN
from pkcs11_bridge.cluster import ClusterMember, KeyCluster, open_cluster
from pkcs11_bridge.encoding import HashName
from pkcs11_bridge.keyring import KeyAlgorithm, PublicKey
from tests.support.faults import await_fact

DIGEST = bytes(32)
DEADLINE = 5.0
PUBLIC = ec.generate_private_key(ec.SECP256R1()).public_key()
ANOTHER = ec.generate_private_key(ec.SECP256R1()).public_key()


class Stopwatch:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


class Key:
    """A key on a token that does as the test says."""

    def __init__(self, name: str, public_key: PublicKey = PUBLIC) -> None:
        self.name = name
        self.public_key = public_key
        self.algorithm = KeyAlgorithm.EC_P256
        self.refusal: Exception | None = None
        self.before: Callable[[], object] = lambda: None
        self.asked = 0
        self.absent: errors.TokenError | None = None

    def open(self) -> "Key":
        if self.absent is not None:
            raise self.absent
        return self

    def sign_digest(self, digest: bytes, hash_name: HashName) -> bytes:
        assert (digest, hash_name) == (DIGEST, "sha256")
        self.asked += 1
        self.before()
        if self.refusal is not None:
            raise self.refusal
        return self.name.encode()

    def sign_message(self, message: bytes) -> bytes:
        self.asked += 1
        return self.name.encode() + message


class Stage:
    def __init__(self, count: int = 2) -> None:
        self.keys = [Key(f"token-{number}") for number in range(count)]
        self.stopwatch = Stopwatch()

    def open(self) -> KeyCluster:
        members = [ClusterMember(key.name, key.open) for key in self.keys]
        return open_cluster(members, deadline_seconds=DEADLINE, stopwatch=self.stopwatch)

    def asked(self) -> list[int]:
        return [key.asked for key in self.keys]


@pytest.fixture
def stage() -> Stage:
    return Stage()


def sign(cluster: KeyCluster) -> bytes:
    return cluster.sign_digest(DIGEST, "sha256")


def test_quiet_tokens_are_asked_by_turns(stage: Stage) -> None:
    cluster = stage.open()
    assert {sign(cluster) for _ in range(10)} == {b"token-0", b"token-1"}
    assert stage.asked() == [5, 5]
    assert cluster.sign_message(b"!").endswith(b"!")
    assert (cluster.public_key, cluster.algorithm) == (PUBLIC, KeyAlgorithm.EC_P256)


def test_a_busy_token_gets_less(stage: Stage) -> None:
    cluster = stage.open()
    inside, go_on = threading.Event(), threading.Event()

    def stay() -> None:
        inside.set()
        go_on.wait(30)

    stage.keys[0].before = stay
    with ThreadPoolExecutor(1) as callers:
        staying = callers.submit(lambda: [sign(cluster) for _ in range(2)])
        assert inside.wait(30)
        assert {sign(cluster) for _ in range(6)} == {b"token-1"}
        stage.keys[0].before = lambda: None
        go_on.set()
        staying.result(30)


@pytest.mark.parametrize(
    "refusal",
    [
        errors.DeviceUnavailable("x"),
        errors.TokenHung("x"),
        errors.TokenBusy("x"),
        errors.CardRemoved("x"),
        errors.PinLatched("x"),
        errors.KeyNotFound("x"),
        errors.TokenNotFound("x"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_one_that_fails_is_made_up_for_by_another(stage: Stage, refusal: errors.TokenError) -> None:
    cluster = stage.open()
    stage.keys[0].refusal = refusal
    assert {sign(cluster) for _ in range(8)} == {b"token-1"}


@pytest.mark.parametrize("kind", [errors.CallRefused, errors.MechanismUnsupported])
def test_what_any_token_would_refuse_is_asked_of_one(
    stage: Stage, kind: type[errors.TokenError]
) -> None:
    cluster = stage.open()
    for key in stage.keys:
        key.refusal = kind("x")
    with pytest.raises(kind):
        sign(cluster)
    assert sum(stage.asked()) == 1


@pytest.mark.parametrize("kind", [errors.CallRefused, errors.MechanismUnsupported])
def test_a_token_that_has_no_use_for_the_key_is_made_up_for_by_another(
    stage: Stage, kind: type[errors.TokenError]
) -> None:
    stage.keys[0].absent = kind("x")
    cluster = stage.open()
    stage.stopwatch.seconds += 60
    assert {sign(cluster) for _ in range(8)} == {b"token-1"}
    stage.keys[1].refusal = errors.TokenHung("x")
    stage.stopwatch.seconds += 60
    with pytest.raises(errors.TokenError):
        sign(cluster)
    assert stage.keys[0].asked == 0


def test_where_all_fail_each_is_asked_once_and_the_last_is_told(stage: Stage) -> None:
    cluster = stage.open()
    for key in stage.keys:
        key.refusal = errors.DeviceUnavailable(key.name)
    with pytest.raises(errors.DeviceUnavailable):
        sign(cluster)
    assert stage.asked() == [1, 1]


def test_a_token_that_hung_is_kept_out_and_let_in_again(stage: Stage) -> None:
    cluster = stage.open()
    stage.keys[0].refusal = errors.TokenHung("x")
    for _ in range(10):
        sign(cluster)
    assert stage.keys[0].asked == 1
    stage.keys[0].refusal = None
    stage.stopwatch.seconds += 60
    assert {sign(cluster) for _ in range(4)} == {b"token-0", b"token-1"}


@pytest.mark.parametrize("refusal", [errors.TokenHung("x"), errors.TokenBusy("x")])
def test_calls_from_before_it_was_kept_out_tell_nothing_new(
    stage: Stage, refusal: errors.TokenError
) -> None:
    cluster, first = stage.open(), stage.keys[0]
    together, probing, found_out = (threading.Event() for _ in range(3))
    for key in stage.keys:
        key.before = lambda: together.wait(30)
    first.refusal = errors.TokenHung("x")
    with ThreadPoolExecutor(8) as callers:
        calls = []
        for number in range(1, 9):
            calls.append(callers.submit(sign, cluster))
            await_fact(lambda number=number: sum(stage.asked()) == number)
        assert stage.asked() == [4, 4]
        together.set()
        assert [call.result(30) for call in calls] == [b"token-1"] * 8
        # Four failed at once, which is one failure: after a second one call finds out.
        stage.stopwatch.seconds += 1

        def find_out() -> None:
            probing.set()
            assert found_out.wait(30)

        first.before, first.refusal = find_out, refusal
        # One of two is its turn.
        probe = callers.submit(lambda: [sign(cluster) for _ in range(2)])
        try:
            assert probing.wait(30)
            assert [sign(cluster) for _ in range(4)] == [b"token-1"] * 4
            assert first.asked == 5
        finally:
            found_out.set()
        assert probe.result(30) == [b"token-1"] * 2


@pytest.mark.parametrize(
    "refusal",
    [errors.TokenHung("x"), errors.PinIncorrect(2), errors.TokenNotFound("x")],
    ids=lambda error: type(error).__name__,
)
def test_where_all_are_kept_out_nobody_is_asked_and_all_are_told_why(
    stage: Stage, refusal: errors.TokenError
) -> None:
    cluster = stage.open()
    for key in stage.keys:
        key.refusal = refusal
    for _ in range(FAILURES_TO_OPEN):
        with pytest.raises(type(refusal)):
            sign(cluster)
    before = stage.asked()
    told = []
    for _ in range(2):
        with pytest.raises(type(refusal)) as caught:
            sign(cluster)
        told.append(caught.value)
    assert stage.asked() == before
    assert told[0] is not told[1]
    assert {str(error) for error in told} == {str(refusal)}
    assert [error.__dict__ for error in told] == [refusal.__dict__] * 2
    assert all(error.__cause__ is error.__context__ is None for error in told)


def test_after_the_deadline_no_other_is_asked(stage: Stage) -> None:
    cluster = stage.open()

    def stand_still() -> None:
        stage.stopwatch.seconds += DEADLINE

    for key in stage.keys:
        key.refusal, key.before = errors.DeviceUnavailable("x"), stand_still
    with pytest.raises(errors.DeviceUnavailable):
        sign(cluster)
    assert sum(stage.asked()) == 1


def test_one_call_gets_one_answer_however_many_are_asked() -> None:
    stage = Stage(3)
    cluster = stage.open()
    stage.keys[0].refusal = stage.keys[1].refusal = errors.TokenHung("x")
    answers = [sign(cluster) for _ in range(20)]
    assert answers == [b"token-2"] * 20
    assert stage.keys[2].asked == 20


def test_one_token_is_enough_to_begin_and_the_other_joins_later(stage: Stage) -> None:
    stage.keys[0].absent = errors.TokenNotFound("x")
    cluster = stage.open()
    assert {sign(cluster) for _ in range(4)} == {b"token-1"}
    stage.keys[0].absent = None
    stage.stopwatch.seconds += 60
    assert {sign(cluster) for _ in range(4)} == {b"token-0", b"token-1"}


def test_without_any_token_it_does_not_begin(stage: Stage) -> None:
    for key in stage.keys:
        key.absent = errors.TokenNotFound(key.name)
    with pytest.raises(errors.TokenNotFound, match="token-1"):
        stage.open()
    with pytest.raises(errors.Misconfigured):
        open_cluster([ClusterMember("alone", Key("alone").open)], deadline_seconds=1)


def test_a_key_that_one_token_has_as_retired_signs_on_none(stage: Stage) -> None:
    stage.keys[1].absent = errors.KeyRetiredOnToken("marked as retired")
    with pytest.raises(errors.KeyRetiredOnToken):
        stage.open()
    assert stage.asked() == [0, 0]


def test_another_key_of_that_name_is_refused_at_the_start(stage: Stage) -> None:
    stage.keys[1].public_key = ANOTHER
    with pytest.raises(errors.KeyMismatch, match="token-1"):
        stage.open()


def test_another_key_that_shows_later_signs_nothing(stage: Stage) -> None:
    stage.keys[0].absent = errors.TokenNotFound("x")
    cluster = stage.open()
    stage.keys[0].absent, stage.keys[0].public_key = None, ANOTHER
    stage.stopwatch.seconds += 60
    assert {sign(cluster) for _ in range(6)} == {b"token-1"}
    assert stage.keys[0].asked == 0
