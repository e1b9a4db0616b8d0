"""What can be seen of one zone's tokens, each in its turn, no further than it shows itself."""

import json
import os
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
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
from webapi.operations.checks import CheckResult
from webapi.settings_tokens import Zone
from webapi.supervisor import die_with_parent, protect_memory
from webapi.token_keys import ZONE_OF, KeyDeclaredTwice
from webapi.trust_settings import CertificateFileWrong, read_certificate_file
from webapi.wiring import Wiring

TRIES_KEPT = 1
"""The last try is a person's: the doctor does not log in when no more are left."""

BROKEN = "broken"
"""The member that names the class of an exception which nobody foresaw."""

_PARTS = ("pin-file", "module", "token", "algorithms", "pin-latch", "login")
_REPLICATED = "keys"

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
_SAME_KEYS = "Replicate the first token's keys to it, by the HSM's own means."
_LATER = "Try again; if it stays so, look at the device and at other processes that use it."
_OTHERWISE = "Look at the token with its own tool, and at its settings in [tokens.{zone}]."


def purposes_of(zone: Zone) -> list[Purpose]:
    """Whose keys are on a zone's token."""
    return [purpose for purpose, its_zone in ZONE_OF.items() if its_zone == zone]


def result_names(zone: Zone, tokens: int) -> tuple[str, ...]:
    """What is looked at, in this order: of the first token, then of each further one."""
    first = *_token_names(zone, 1), *map(_key_name, purposes_of(zone))
    others = (_token_names(zone, number) for number in range(2, tokens + 1))
    return (*first, *chain.from_iterable(others))


def _token_names(zone: Zone, number: int) -> list[str]:
    parts = _PARTS if number == 1 else (*_PARTS, _REPLICATED)
    return [_name(part, zone, number) for part in parts]


def _name(part: str, zone: Zone, number: int) -> str:
    return f"{part}.{zone}" if number == 1 else f"{part}.{zone}.{number}"


def _key_name(purpose: Purpose) -> str:
    return f"key.{purpose}"


def look_at_zone(wiring: Wiring, zone: Zone) -> Iterator[CheckResult]:
    """Of each token PIN file, module, token, latch, login, keys; no further than can be seen.

    A PIN is tried at most once, and not at all while something stands against it.
    """
    try:
        configs = wiring.keys.token_configs(zone)
    except TokenError as e:
        yield _failure(_name("pin-file", zone, 1), e, zone)
        return
    first_is_open = False
    for number, config in enumerate(configs, 1):
        at = _Looked(wiring, zone, number, config, first_is_open=first_is_open)
        is_open = yield from _look_at_token(at)
        first_is_open = is_open if number == 1 else first_is_open


@dataclass(frozen=True, slots=True)
class _Looked:
    """One of a zone's tokens, counted from 1.

    Attributes:
        first_is_open: of a further one: whether there is a login on the first. No other is made
            while this one is looked at.
    """

    wiring: Wiring
    zone: Zone
    number: int
    config: TokenConfig
    first_is_open: bool

    def name(self, part: str) -> str:
        return _name(part, self.zone, self.number)


def _look_at_token(at: _Looked) -> Generator[CheckResult, None, bool]:
    """Returns whether there is a login on it."""
    zone, config = at.zone, at.config
    pin = None
    try:
        pin = config.pin_source.read()
        seen = "typed on the pinpad" if isinstance(pin, PinpadEntry) else "its owner's alone"
        yield CheckResult.ok(at.name("pin-file"), seen)
    except _TROUBLE as e:
        yield _failure(at.name("pin-file"), e, zone)
    if not _is_ours(config.latch_directory):
        remedy = "Run this as the service's user; if it is that user, chown the folder to it."
        seen = f"{config.latch_directory} belongs to another user"
        yield CheckResult.failed(at.name("pin-latch"), seen, remedy)
        return False
    try:
        yield CheckResult.ok(at.name("module"), f"{look_at_module(config)}: {config.module}")
    except _TROUBLE as e:
        yield _failure(at.name("module"), e, zone)
        return False
    try:
        seen_token = look_at_token(config)
    except _TROUBLE as e:
        yield _failure(at.name("token"), e, zone)
        return False
    described = seen_token.description
    if at.wiring.settings.service.mode == "production" and described.is_software:
        remedy = "Production needs hardware: correct [tokens.{zone}]."
        yield CheckResult.failed(
            at.name("token"), "it is a software token", remedy.format(zone=zone)
        )
        return False
    yield CheckResult.ok(
        at.name("token"), f"{described.label}, {described.model}, {described.serial}"
    )
    yield algorithms_result(at.name("algorithms"), seen_token.capabilities)
    if pin is None:
        return False
    return (yield from _look_behind_pin(at, pin, seen_token.tries_left))


def _is_ours(directory: Path) -> bool:
    """No lock file of ours in another user's folder: the service could not open it."""
    nearest = next(path for path in (directory, *directory.parents) if path.exists())
    return nearest.stat().st_uid == os.geteuid()


def _look_behind_pin(
    at: _Looked, pin: Pin, tries_left: int | None
) -> Generator[CheckResult, None, bool]:
    latch = _latch_result(at, pin)
    yield latch
    if latch.remedy:
        return False
    login = at.name("login")
    if tries_left is not None and tries_left <= TRIES_KEPT:
        remedy = "Make sure of the PIN, then log in once with the token's own tool, or unblock it."
        seen = f"not tried: the token says that {tries_left} PIN tries are left"
        yield CheckResult.failed(login, seen, remedy)
        return False
    if isinstance(pin, PinpadEntry):
        yield CheckResult.skipped(login, "a person would have to type the PIN on the pinpad")
        return False
    try:
        at.wiring.keys.token(at.zone, at.number).open()
    except _TROUBLE as e:
        yield _failure(login, e, at.zone)
        return False
    yield CheckResult.ok(login, "the token takes the PIN")
    used = _used_purposes(at)
    if at.number > 1:
        yield _replicated_result(at, used)
        return True
    for purpose in used:
        yield _key_result(at.wiring, purpose, at.zone)
    return True


def _used_purposes(at: _Looked) -> list[Purpose]:
    listener = at.wiring.settings.ocsp_listener
    makes_lists = listener is not None and listener.crl_certificate is not None
    return [
        purpose
        for purpose in purposes_of(at.zone)
        if makes_lists or purpose is not Purpose.CRL_CITIZEN_CA
    ]


def _replicated_result(at: _Looked, purposes: Iterable[Purpose]) -> CheckResult:
    """Whether a further token has the same keys as the first, which tells the rest of them."""
    name, keys = at.name(_REPLICATED), at.wiring.keys
    if not at.first_is_open:
        return CheckResult.skipped(name, "the zone's first token could not be looked at")
    for purpose in purposes:
        for term in keys.rotation(purpose).signing:
            try:
                here = keys.key_on(at.zone, at.number, term.key)
            except _TROUBLE as e:
                return _failure(name, e, at.zone)
            try:
                first = keys.key_on(at.zone, 1, term.key)
            except _TROUBLE:
                seen = f"the first token does not give {term.key}: see {_key_name(purpose)}"
                return CheckResult.skipped(name, seen)
            if here.public_key != first.public_key:
                seen = f"{term.key} is another key here than on the zone's first token"
                return CheckResult.failed(name, seen, _SAME_KEYS)
    return CheckResult.ok(name, "the same as on the zone's first token")


def _latch_result(at: _Looked, pin: Pin) -> CheckResult:
    name = at.name("pin-latch")
    try:
        latch = look_at_latch(at.config, pin)
    except _TROUBLE as e:
        return _failure(name, e, at.zone)
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
        # On the first token alone: no PIN goes to another one before that is looked at.
        key = wiring.keys.key_on(zone, 1, uri)
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
        raise SystemExit(f"usage: python -m webapi.doctor.look {'|'.join(get_args(Zone))} PARENT")
    die_with_parent(int(parent[0]))
    protect_memory()
    # What a module prints goes elsewhere.
    report = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with report:
        try:
            _report_zone(cast("Zone", zone), report)
        except Exception as e:  # noqa: BLE001 - whatever it is, it is told by its class
            print(json.dumps({BROKEN: type(e).__qualname__}), file=report)


def _report_zone(zone: Zone, report: TextIO) -> None:
    settings = load_settings(Path(os.environ[CONFIG_VARIABLE]), os.environ)
    with closing(Wiring(settings)) as wiring:
        for result in look_at_zone(wiring, zone):
            print(json.dumps(result.members()), file=report, flush=True)
