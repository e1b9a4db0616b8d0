"""One suite for every real module: the same bridge, the same calls, whatever is behind them.

Each module is used in a process of its own (tests.support.module_worker). What is signed there is
verified here.
"""

from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from pkcs11_bridge.keyring import KeyAlgorithm, PublicKey, SignatureAlgorithm
from tests.support.modules import WRONG_PIN, ModuleRig, ModuleWorker, Refused, worker
from tests.support.signatures import verify_signature

THREADS = 4


@pytest.fixture(scope="module")
def user(rig: ModuleRig) -> Iterator[ModuleWorker]:
    with worker(rig) as made:
        yield made


def public_key_of(user: ModuleWorker, uri: str) -> PublicKey:
    key = load_pem_public_key(user.ask("key", uri=uri)["public_key"].encode())
    assert isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey)
    return key


def test_another_token_is_not_found(user: ModuleWorker) -> None:
    with pytest.raises(Refused, match="TokenNotFound"):
        user.ask("open_another", label="nobody")


def test_another_key_is_not_found(user: ModuleWorker) -> None:
    with pytest.raises(Refused, match="KeyNotFound"):
        user.ask("key", uri="pkcs11:object=nobody")


def test_each_kind_of_key_is_found_once(user: ModuleWorker, rig: ModuleRig) -> None:
    assert user.ask("describe")["label"] == rig.token
    for kind, uri in rig.keys.items():
        found = user.ask("key", uri=uri)
        assert found["kind"] == kind
        assert set(found["algorithms"]) == rig.algorithms(kind)


def test_every_algorithm_is_signed_or_refused(user: ModuleWorker, rig: ModuleRig) -> None:
    message = rig.name.encode()
    for kind, uri in rig.keys.items():
        public_key = public_key_of(user, uri)
        for algorithm in SignatureAlgorithm:
            order = {"uri": uri, "algorithm": algorithm, "message": message.hex()}
            if algorithm in rig.algorithms(kind):
                signature = bytes.fromhex(user.ask("sign", **order))
                verify_signature(public_key, algorithm, signature, message)
            else:
                with pytest.raises(Refused, match="MechanismUnsupported"):
                    user.ask("sign", **order)


def test_the_token_says_what_its_keys_do(user: ModuleWorker, rig: ModuleRig) -> None:
    told = user.ask("capabilities")
    for kind in rig.keys:
        assert {name for name, kinds in told.items() if kind in kinds} == rig.algorithms(kind)


def test_threads_share_the_token(user: ModuleWorker, rig: ModuleRig) -> None:
    order = {"uri": rig.keys[KeyAlgorithm.EC_P256], "algorithm": SignatureAlgorithm.ES256}
    told = user.ask("sign_in_threads", threads=THREADS, times=5, **order)
    assert told == {"ok": THREADS * 5, "others": []}


def test_a_permit_is_good_for_one_signature(user: ModuleWorker, rig: ModuleRig) -> None:
    user.ask("begin_load", uri=rig.keys[KeyAlgorithm.EC_P256], threads=2)
    user.await_signature()  # the threads may not even have begun
    told = user.ask("end_load")
    assert told["signed_at"]
    assert told["recorded"] == told["spent"] == len(told["signed_at"])
    assert (told["refused"], told["faults"]) == ({}, {})


def test_a_wrong_pin_is_tried_once(user: ModuleWorker, rig: ModuleRig) -> None:
    wrong = str(rig.pin_file("wrong", WRONG_PIN))
    assert user.ask("open_with_pin", pin_file=wrong, times=3) == [
        rig.wrong_pin,
        "PinLatched",
        "PinLatched",
    ]
    user.ask("reopen")
    rig.restore()


def test_closed_and_opened_again_it_signs_with_the_same_keys(
    user: ModuleWorker, rig: ModuleRig
) -> None:
    for uri in rig.keys.values():
        before = public_key_of(user, uri)
        user.ask("reopen")
        assert public_key_of(user, uri) == before


@pytest.mark.parametrize("rig", ["p11-kit-client", "opensc-pkcs11", "libykcs11"], indirect=True)
def test_a_token_that_goes_away_and_comes_back(user: ModuleWorker, rig: ModuleRig) -> None:
    assert rig.away is not None
    order = {"algorithm": SignatureAlgorithm.RS256, "message": "00"}
    uri = rig.keys[KeyAlgorithm.RSA_2048]
    user.ask("sign", uri=uri, **order)
    rig.away.take()
    for expected in rig.away.refusals:
        with pytest.raises(Refused, match=expected):
            user.ask("sign", uri=uri, **order)
    rig.away.bring_back()
    verify_signature(
        public_key_of(user, uri),
        SignatureAlgorithm.RS256,
        bytes.fromhex(user.ask("sign", uri=uri, **order)),
        b"\0",
    )
