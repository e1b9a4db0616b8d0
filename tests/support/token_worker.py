"""A process that uses one token and tells in one JSON line what became of it.

For tests of what only a process of its own can show: threads under a time limit, forks, several
processes that start together, a module that misbehaves.
"""

import hashlib
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.encoding import raw_to_der
from pkcs11_bridge.errors import TokenError
from pkcs11_bridge.keyring import PublicKey, open_key
from pkcs11_bridge.pin import FilePinSource
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.uri import Pkcs11Uri
from tests.support.mischief import FOLDER_VARIABLE, Mischief, Trick
from tests.support.signatures import counts_by_label

DIGEST = hashlib.sha256(b"text").digest()


def verify(public_key: PublicKey, signature: bytes) -> None:
    """Verify a signature over DIGEST with another library; raises InvalidSignature."""
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    public_key.verify(raw_to_der(signature), DIGEST, ec.ECDSA(Prehashed(hashes.SHA256())))


def outcome(step: Callable[[], object]) -> str:
    """The class of the refusal, or "ok"."""
    try:
        step()
    except TokenError as e:
        return type(e).__name__
    return "ok"


def main(order: dict[str, Any]) -> dict[str, Any]:
    config = TokenConfig(
        module=Path(order["module"]),
        uri=Pkcs11Uri(token=order["token"]),
        pin_source=FilePinSource(Path(order["pin_file"])),
        latch_directory=Path(order["latches"]),
        sessions=order.get("sessions", 4),
        wait_seconds=order.get("wait_seconds", 30.0),
    )
    sessions = TokenSessions(config)
    until = order.get("start_at", 0.0)
    while time.time() < until:
        time.sleep(0.001)
    return TASKS[order["task"]](sessions, order)


def opened(sessions: TokenSessions, order: dict[str, Any]) -> dict[str, Any]:
    """Open again and again; each refusal is told."""
    told = [outcome(sessions.open) for _ in range(order.get("times", 1))]
    closed = outcome(sessions.close) if order.get("close", True) else "left open"
    return {"opened": told, "closed": closed}


def described(sessions: TokenSessions, order: dict[str, Any]) -> dict[str, Any]:
    """What the token says that it is."""
    with sessions:
        told = sessions.describe()
    return {"manufacturer": told.manufacturer, "is_software": told.is_software}


def signed(sessions: TokenSessions, order: dict[str, Any]) -> dict[str, Any]:
    """Sign in several threads; every signature that verifies counts."""
    key = open_key(sessions, Pkcs11Uri(object=order["key"]))
    told: list[str] = []

    def sign() -> None:
        verify(key.public_key, key.sign_digest(DIGEST, "sha256"))

    def work() -> None:
        told.extend(outcome(sign) for _ in range(order["times"]))

    threads = [threading.Thread(target=work) for _ in range(order["threads"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sessions.close()
    return {
        "ok": told.count("ok"),
        "others": sorted(set(told) - {"ok"}),
        "counts": counts_by_label(),
    }


def signed_with_mischief(sessions: TokenSessions, order: dict[str, Any]) -> dict[str, Any]:
    """Sign; again under each mischief; and once more without it."""
    key = open_key(sessions, Pkcs11Uri(object=order["key"]))
    told = [outcome(lambda: key.sign_digest(DIGEST, "sha256"))]
    mischief = Mischief(Path(os.environ[FOLDER_VARIABLE]))
    for trick, argument in order["mischief"]:
        mischief.order("C_Sign", Trick(trick), argument, times=1)
        told += [outcome(lambda: key.sign_digest(DIGEST, "sha256")) for _ in range(2)]
    sessions.close()
    return {"told": told, "counts": counts_by_label()}


def forked(sessions: TokenSessions, order: dict[str, Any]) -> dict[str, Any]:
    """Open, fork, and tell what the child may do; the parent goes on."""
    key = open_key(sessions, Pkcs11Uri(object=order["key"]))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        told = {
            "old sessions": outcome(sessions.open),
            "old key": outcome(lambda: key.sign_digest(DIGEST, "sha256")),
            "new sessions": outcome(TokenSessions(sessions.config).open),
        }
        sessions.close()
        os.write(writing, json.dumps(told).encode())
        os._exit(0)
    os.waitpid(child, 0)
    parent = outcome(lambda: key.sign_digest(DIGEST, "sha256"))
    return {"child": json.loads(os.read(reading, 65536)), "parent": parent}


def loaded_after_fork(sessions: TokenSessions, order: dict[str, Any]) -> dict[str, Any]:
    """Sessions made before a fork and opened in two children."""
    codes = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            os._exit(0 if outcome(sessions.open) == "ok" else 1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    return {"children": codes, "parent": outcome(sessions.open)}


TASKS: dict[str, Callable[[TokenSessions, dict[str, Any]], dict[str, Any]]] = {
    "open": opened,
    "describe": described,
    "sign": signed,
    "mischief": signed_with_mischief,
    "fork": forked,
    "load after fork": loaded_after_fork,
}

if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))) + "\n")
