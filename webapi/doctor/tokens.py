"""One zone's token, looked at in a process of its own.

A PKCS#11 module is somebody else's code in our process: it may hang, or take the process down. So
`python -m webapi.doctor.tokens` looks and writes each result as a line of JSON; whoever
asked ends it when the time is over, which also frees the locks that it held.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import TextIO, cast, get_args

from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.errors import (
    ExtractableKey,
    KeyAmbiguous,
    KeyNotFound,
    KeyRetiredOnToken,
    MechanismUnsupported,
    Misconfigured,
    ModuleUnusable,
    PinIncorrect,
    PinLatched,
    PinLengthWrong,
    PinLocked,
    PinSourceUnreadable,
    PinUnusable,
    RetryLater,
    TokenAmbiguous,
    TokenError,
    TokenNotFound,
    UnsafePinSource,
    UriInvalid,
)
from pkcs11_bridge.inspection import look_at_latch, look_at_module, look_at_token
from pkcs11_bridge.keyring import SigningKey
from pkcs11_bridge.latch import LatchState
from pkcs11_bridge.pin import Pin, PinpadEntry
from signer.hsm_backend import may_serve
from signer.payload import Purpose
from webapi import clock
from webapi.config import CONFIG_VARIABLE, load_settings
from webapi.doctor.algorithms import algorithms_result
from webapi.key_health import KeyUnhealthy
from webapi.operations.checks import Check, CheckBroken, CheckResult, no_answer
from webapi.settings_tokens import Zone
from webapi.supervisor import die_with_parent, protect_memory
from webapi.token_keys import ZONE_OF, KeyDeclaredTwice
from webapi.trust_settings import CertificateFileWrong, read_certificate_file
from webapi.wiring import Wiring

TRIES_KEPT = 1
"""The last try is a person's: the doctor does not log in when no more are left."""

_BROKEN = "broken"
"""The member that names the class of an exception which nobody foresaw."""

_GRACE = timedelta(seconds=5)
_REMEDIES: Mapping[type[TokenError], str] = {
    PinSourceUnreadable: "Put the PIN, and nothing else, where pin_file or pin_source says.",
    UnsafePinSource: "Give the PIN file to the service's user alone: chown, and chmod 600.",
    ModuleUnusable: "Install the token's PKCS#11 module, or correct `module`.",
    TokenNotFound: "Connect or initialise the token, or correct `token`, its label.",
    TokenAmbiguous: "Give each token a label of its own.",
    PinIncorrect: "Correct the PIN file; until it changes, nobody tries this PIN again.",
    PinLatched: "Correct the PIN file: a changed PIN clears the latch.",
    PinLengthWrong: "Correct the PIN file: the token allows no PIN of this length.",
    PinLocked: "Unblock the PIN with the security officer's PIN, by the token's own tool.",
    PinUnusable: "Set the token's user PIN, by the token's own tool.",
    KeyNotFound: "Make the key in the token or restore the token; a new key must be pinned anew.",
    KeyAmbiguous: "Leave one key with this label; find out first which one others have pinned.",
    Misconfigured: "Correct the section [tokens.<zone>] of the settings.",
    UriInvalid: "Correct `token`, the label, in the section [tokens.<zone>] of the settings.",
    MechanismUnsupported: "Make a key of a kind that algorithms.<zone> shows, and pin it anew.",
    KeyDeclaredTwice: "Name each key once in [[keys.<purpose>]]: one key serves one purpose.",
    KeyRetiredOnToken: "Make a new key (`tamga key create`), and name it in [[keys.<purpose>]].",
    ExtractableKey: "Make a new key in the token, sensitive and never extractable; pin it anew.",
}
_TROUBLE = (TokenError, OSError)
"""What is told as it is; an OSError comes from the folder of the latches, and names its file."""

_LATCH_FOLDER = "Look at pin_latch_directory: a folder that belongs to the service's user alone."
_LATER = "Try again; if it stays so, look at the device and at other processes that use it."
_OTHERWISE = "Look at the token with its own tool, and at its settings in [tokens.{zone}]."


def zone_check(zone: Zone, config: Path, limit: timedelta) -> Check:
    """The check of a zone's token.

    Args:
        zone: which.
        config: the configuration file.
        limit: when the process that looks is ended.
    """
    return Check(
        names=result_names(zone),
        look=lambda: _look_from_outside(zone, config, limit),
        limit=limit + _GRACE,
        remedy_if_broken=(
            "Look whether the device answers its own tool, and whether another process of the "
            "service hangs; a slow device may need --limit."
        ),
    )


def purposes_of(zone: Zone) -> list[Purpose]:
    """Whose keys are on a zone's token."""
    return [purpose for purpose, its_zone in ZONE_OF.items() if its_zone == zone]


def result_names(zone: Zone) -> tuple[str, ...]:
    """What is looked at, in this order."""
    parts = ("pin-file", "module", "token", "algorithms", "pin-latch", "login")
    return (*(f"{part}.{zone}" for part in parts), *map(_key_name, purposes_of(zone)))


def _key_name(purpose: Purpose) -> str:
    return f"key.{purpose}"


def _look_from_outside(zone: Zone, config: Path, limit: timedelta) -> Iterator[CheckResult]:
    ended = threading.Event()
    with subprocess.Popen(
        (sys.executable, "-m", __name__, zone, str(os.getpid())),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, CONFIG_VARIABLE: str(config)},
    ) as process:

        def end() -> None:
            ended.set()
            process.kill()

        watchdog = threading.Timer(limit.total_seconds(), end)
        watchdog.daemon = True
        watchdog.start()
        try:
            # Of a process with a pipe for its output; the annotation allows for none.
            for line in process.stdout or ():
                members = json.loads(line)
                if _BROKEN in members:
                    raise CheckBroken(f"the check ended in {members[_BROKEN]}")
                yield CheckResult.of_members(members)
        finally:
            watchdog.cancel()
    if ended.is_set():
        raise no_answer(limit)
    if process.returncode < 0:
        name = signal.Signals(-process.returncode).name
        raise CheckBroken(f"the process that looked was ended by {name}")
    if process.returncode > 0:
        raise CheckBroken("the process that looked could not begin")


def look_at_zone(wiring: Wiring, zone: Zone) -> Iterator[CheckResult]:
    """PIN file, module, token, latch, login, keys; stops where nothing further can be seen.

    A PIN is tried at most once, and not at all while something stands against it.
    """
    pin_file, module, token, algorithms, *_ = result_names(zone)
    try:
        config = wiring.keys.token_config(zone)
    except TokenError as e:
        yield _failure(pin_file, e, zone)
        return
    pin = None
    try:
        pin = config.pin_source.read()
        seen = "typed on the pinpad" if isinstance(pin, PinpadEntry) else "its owner's alone"
        yield CheckResult.ok(pin_file, seen)
    except _TROUBLE as e:
        yield _failure(pin_file, e, zone)
    if not _is_ours(config.latch_directory):
        remedy = "Run this as the service's user; if it is that user, chown the folder to it."
        seen = f"{config.latch_directory} belongs to another user"
        yield CheckResult.failed(f"pin-latch.{zone}", seen, remedy)
        return
    try:
        yield CheckResult.ok(module, f"{look_at_module(config)}: {config.module}")
    except _TROUBLE as e:
        yield _failure(module, e, zone)
        return
    try:
        seen_token = look_at_token(config)
    except _TROUBLE as e:
        yield _failure(token, e, zone)
        return
    described = seen_token.description
    if wiring.settings.service.mode == "production" and described.is_software:
        remedy = "Production needs hardware: correct [tokens.{zone}]."
        yield CheckResult.failed(token, "it is a software token", remedy.format(zone=zone))
        return
    yield CheckResult.ok(token, f"{described.label}, {described.model}, {described.serial}")
    yield algorithms_result(algorithms, seen_token.capabilities)
    if pin is not None:
        yield from _look_behind_pin(wiring, zone, config, pin, seen_token.tries_left)


def _is_ours(directory: Path) -> bool:
    """No lock file of ours in another user's folder: the service could not open it."""
    nearest = next(path for path in (directory, *directory.parents) if path.exists())
    return nearest.stat().st_uid == os.geteuid()


def _look_behind_pin(
    wiring: Wiring, zone: Zone, config: TokenConfig, pin: Pin, tries_left: int | None
) -> Iterator[CheckResult]:
    latch = _latch_result(config, pin, zone)
    yield latch
    if latch.remedy:
        return
    login = f"login.{zone}"
    if tries_left is not None and tries_left <= TRIES_KEPT:
        remedy = "Make sure of the PIN, then log in once with the token's own tool, or unblock it."
        seen = f"not tried: the token says that {tries_left} PIN tries are left"
        yield CheckResult.failed(login, seen, remedy)
        return
    if isinstance(pin, PinpadEntry):
        yield CheckResult.skipped(login, "a person would have to type the PIN on the pinpad")
        return
    try:
        wiring.keys.token(zone).open()
    except _TROUBLE as e:
        yield _failure(login, e, zone)
        return
    yield CheckResult.ok(login, "the token takes the PIN")
    listener = wiring.settings.ocsp_listener
    makes_lists = listener is not None and listener.crl_certificate is not None
    for purpose in purposes_of(zone):
        if makes_lists or purpose is not Purpose.CRL_CITIZEN_CA:
            yield _key_result(wiring, purpose, zone)


def _latch_result(config: TokenConfig, pin: Pin, zone: Zone) -> CheckResult:
    name = f"pin-latch.{zone}"
    try:
        latch = look_at_latch(config, pin)
    except _TROUBLE as e:
        return _failure(name, e, zone)
    if latch is None:
        return CheckResult.ok(name, "nothing stands against the PIN")
    if latch.state is LatchState.REFUSED:
        seen = f"the token refused this PIN on {latch.since:%F %R} UTC; it is not tried again"
    else:
        seen = f"a login with this PIN, on {latch.since:%F %R} UTC, never ended; it is not tried"
    remedy = (
        "Correct the PIN file: a changed PIN clears the latch. "
        f"If the PIN is right and the token was at fault, remove {latch.path}"
    )
    return CheckResult.failed(name, seen, remedy)


def _key_result(wiring: Wiring, purpose: Purpose, zone: Zone) -> CheckResult:
    """All keys of a purpose that sign now or will by themselves; of a bad one the result."""
    rotation = wiring.keys.rotation(purpose)
    results = [_one_key(wiring, purpose, zone, term.key) for term in rotation.signing]
    bad = [result for result in results if result.remedy]
    return (bad or results)[0]


def _one_key(wiring: Wiring, purpose: Purpose, zone: Zone, uri: str) -> CheckResult:
    """Attributes and public half; nothing is signed, since keys sign only what has a permit."""
    name = _key_name(purpose)
    try:
        key = wiring.keys.key_named(purpose, uri)
    except _TROUBLE as e:
        return _failure(name, e, zone)
    if not may_serve(key.algorithm, purpose):
        remedy = "Make a key on P-256 (or an Ed25519 key, where the label says so)."
        return CheckResult.failed(name, f"it is of the kind {key.algorithm}", remedy)
    certificate = wiring.keys.certificate_file(purpose, uri)
    if certificate is not None and not _is_certified(key, certificate):
        remedy = "Have the CA certify this key, or put the key's own certificate there."
        return CheckResult.failed(name, f"it is not the key of {certificate.name}", remedy)
    try:
        wiring.keys.require_healthy(purpose, clock.now())
    except KeyUnhealthy as e:
        remedy = "Look at the log of the process that holds the key, and at the device."
        return CheckResult.failed(name, f"it did not sign when it was checked last: {e}", remedy)
    return CheckResult.ok(name, f"{key.algorithm}, cannot leave the token")


def _is_certified(key: SigningKey, path: Path) -> bool:
    """True as well where there is no certificate: another check tells that."""
    try:
        certificate = read_certificate_file(path)
    except CertificateFileWrong:
        return True
    return certificate.public_key() == key.public_key


def _failure(name: str, error: TokenError | OSError, zone: Zone) -> CheckResult:
    if isinstance(error, OSError):
        return CheckResult.failed(name, str(error), _LATCH_FOLDER)
    fallback = _LATER if isinstance(error, RetryLater) else _OTHERWISE.format(zone=zone)
    return CheckResult.failed(
        name, str(error), _REMEDIES.get(type(error), fallback).replace("<zone>", zone)
    )


def main(arguments: list[str]) -> None:
    """Look at the zone that is named; the second argument is the parent's process id.

    The configuration's path is in TAMGA_CONFIG.
    """
    zone, *parent = arguments or [""]
    if zone not in get_args(Zone) or len(parent) != 1 or not parent[0].isdecimal():
        raise SystemExit("usage: python -m webapi.doctor.tokens login|receipts|pki PARENT")
    die_with_parent(int(parent[0]))
    protect_memory()
    # What a module prints goes elsewhere.
    report = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with report:
        try:
            _report_zone(cast("Zone", zone), report)
        except Exception as e:  # noqa: BLE001 - whatever it is, it is told by its class
            print(json.dumps({_BROKEN: type(e).__qualname__}), file=report)


def _report_zone(zone: Zone, report: TextIO) -> None:
    settings = load_settings(Path(os.environ[CONFIG_VARIABLE]), os.environ)
    with closing(Wiring(settings)) as wiring:
        for result in look_at_zone(wiring, zone):
            print(json.dumps(result.members()), file=report, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
