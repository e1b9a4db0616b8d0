"""Provisioning with the real SoftHSM, each run in a process of its own.

SoftHSM reads SOFTHSM2_CONF once per process, so the runs happen in subprocesses; the small
program below prints what a run did as one JSON line.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from softhsm_config.errors import EnvironmentTaken
from softhsm_config.modules import opensc_module, softhsm_module
from softhsm_config.provision import provision
from tests.support.card import NOW, CardRig

PREFIX = """
import json, os, sys
from datetime import datetime
from pathlib import Path
from pkcs11_bridge import keyring, provisioning
from pkcs11_bridge.keyring import open_key
from pkcs11_bridge.mechanisms import KeyAlgorithm
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.sign_counts import sign_counts
from pkcs11_bridge.uri import Pkcs11Uri
from softhsm_config import provision as steps
from softhsm_config.ca_keys import TokenCaKeys
from softhsm_config.dev_pki import DevelopmentPki
from softhsm_config.provision import provision
from softhsm_config.zones import LOGIN, RECEIPTS, ZONES, Zone

directory = Path(sys.argv[1])
small = (LOGIN, RECEIPTS)
"""
REPORT = """
done = provision(directory, small)
print(json.dumps({"tokens": done.tokens_made, "keys": len(done.keys_made)}))
"""


@dataclass(frozen=True, slots=True)
class Run:
    """What a program printed and how it ended."""

    status: int
    output: dict[str, object]
    errors: str


def run(directory: Path, program: str, *arguments: str) -> Run:
    environment = {k: v for k, v in os.environ.items() if k != "SOFTHSM2_CONF"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PREFIX + program, str(directory), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    line = done.stdout.strip()
    return Run(done.returncode, json.loads(line) if line else {}, done.stderr)


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    first = run(tmp_path / "hsm", REPORT)
    assert first.errors == ""
    assert first.output == {"tokens": ["tamga-login", "tamga-receipts"], "keys": 3}
    before = contents(tmp_path / "hsm")
    second = run(tmp_path / "hsm", REPORT)
    assert second.output == {"tokens": [], "keys": 0}
    after = contents(tmp_path / "hsm")
    # SoftHSM rewrites a token's state at each login; what we wrote stays.
    ours = {name for name in before if not name.startswith("tokens/")}
    assert {name: after[name] for name in ours} == {name: before[name] for name in ours}
    assert after.keys() == before.keys()


def test_everything_is_closed_to_others_and_every_token_has_its_pin(tmp_path: Path) -> None:
    run(tmp_path / "hsm", REPORT)
    for path in [tmp_path / "hsm", *(tmp_path / "hsm").rglob("*")]:
        if "tokens" not in path.relative_to(tmp_path).parts[1:2]:
            assert path.stat().st_mode & 0o077 == 0, path
    assert (tmp_path / "hsm" / "tokens").stat().st_mode & 0o077 == 0
    pins = [path.read_text() for path in (tmp_path / "hsm" / "pins").iterdir()]
    assert len(pins) == len(set(pins)) == 4


CRASHES = {
    "before the token": (
        "steps.ensure_token = lambda *a, **k: os._exit(9)",
        {"tokens": ["tamga-login", "tamga-receipts"], "keys": 3},
    ),
    "between token and user PIN": (
        (
            "import pkcs11._pkcs11\n"
            "original = provisioning._init_token\n"
            "provisioning._init_token = lambda *a: (original(*a), os._exit(9))"
        ),
        {"tokens": ["tamga-login", "tamga-receipts"], "keys": 3},
    ),
    "after the first token": (
        "steps._provide_keys = lambda *a: os._exit(9)",
        {"tokens": ["tamga-receipts"], "keys": 3},
    ),
    "between keys": (
        (
            "original = steps.generate_key\n"
            "def generate(sessions, label, algorithm):\n"
            "    key = original(sessions, label, algorithm)\n"
            "    if label == 'receipt-log': os._exit(9)\n"
            "    return key\n"
            "steps.generate_key = generate"
        ),
        {"tokens": [], "keys": 1},
    ),
    "between the halves of a key": (
        (
            "from pkcs11 import Attribute, ObjectClass\n"
            "original = steps.generate_key\n"
            "def generate(sessions, label, algorithm):\n"
            "    original(sessions, label, algorithm)\n"
            "    with sessions.writing_session() as session:\n"
            "        wanted = {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.LABEL: label}\n"
            "        for half in list(session.get_objects(wanted)): half.destroy()\n"
            "    os._exit(9)\n"
            "steps.generate_key = generate"
        ),
        {"tokens": ["tamga-receipts"], "keys": 3},
    ),
}


@pytest.mark.parametrize("moment", CRASHES)
def test_a_run_that_was_cut_short_is_completed(tmp_path: Path, moment: str) -> None:
    crash, expected = CRASHES[moment]
    assert run(tmp_path / "hsm", crash + "\nprovision(directory, small)\n").status == 9
    completed = run(tmp_path / "hsm", REPORT)
    assert completed.errors == ""
    assert completed.output == expected
    assert run(tmp_path / "hsm", REPORT).output == {"tokens": [], "keys": 0}


def test_no_program_is_run_and_no_pin_is_printed(tmp_path: Path) -> None:
    guard = (
        "def audit(event, arguments):\n"
        "    if event in ('subprocess.Popen', 'os.exec', 'os.system', 'os.posix_spawn'):\n"
        "        raise RuntimeError(event)\n"
        "sys.addaudithook(audit)\n"
    )
    done = run(tmp_path / "hsm", guard + REPORT + "print(repr(done), file=sys.stderr)\n")
    assert done.status == 0
    for path in (tmp_path / "hsm" / "pins").iterdir():
        assert path.read_text().strip() not in done.errors


REFUSED = """
from pkcs11_bridge.pin import Pin
os.environ.setdefault("SOFTHSM2_CONF", str(directory / "softhsm2.conf"))
module, label, so_pin = Path(sys.argv[2]), sys.argv[3], Pin(sys.argv[4])
try:
    provisioning.ensure_token(module, label, so_pin=so_pin, user_pin=Pin("12345678"),
                              lock_directory=directory / "latches")
except Exception as e:
    print(json.dumps({"error": type(e).__name__}))
"""


@pytest.mark.parametrize(
    ("label", "so_pin", "error"),
    [
        ("", "12345678", "Misconfigured"),
        ("x" * 33, "12345678", "Misconfigured"),
        ("short", "1", "DeviceUnavailable"),
    ],
)
def test_what_makes_no_token_is_told(tmp_path: Path, label: str, so_pin: str, error: str) -> None:
    run(tmp_path, REPORT)
    refused = run(tmp_path, REFUSED, str(softhsm_module()), label, so_pin)
    assert refused.output == {"error": error}
    assert refused.errors == ""


def test_a_citizens_card_is_never_made_a_token(
    tmp_path: Path, card_rig: CardRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in card_rig.reader.environment.items():
        monkeypatch.setenv(name, value)
    refused = run(tmp_path, REFUSED, str(opensc_module()), "tamga-login", "12345678")
    assert refused.output == {"error": "TokenNotFound"}


def test_another_configuration_in_this_process_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOFTHSM2_CONF", "/elsewhere/softhsm2.conf")
    with pytest.raises(EnvironmentTaken):
        provision(tmp_path / "hsm")


WHOLE = """
done = provision(directory)
at = datetime.fromisoformat("2026-11-15T12:00:00+00:00")
with TokenCaKeys(done.hsm) as keys:
    pki = DevelopmentPki.open_or_create(
        directory / "pki", keys, base_url="http://127.0.0.1:8480", at=at)
    pki.issue_ocsp_delegate(keys, at)
    pki.issue_tls(at)
with TokenCaKeys(done.hsm, (RECEIPTS,)) as keys:
    refusals = []
    for label in ("unheard-of", "receipt-log-ed25519"):
        try:
            keys.signing_key(label)
        except Exception as e:
            refusals.append(type(e).__name__)
print(json.dumps({
    "tokens": len(done.tokens_made), "keys": len(done.keys_made), "issued": len(pki.issued),
    "signatures": {token.label: count for token, count in sign_counts().items()},
    "module": str(done.hsm.module), "refusals": refusals}))
"""


def test_the_whole_installation(tmp_path: Path) -> None:
    """Six tokens, twelve keys, a PKI signed by the token; the second run signs nothing."""
    first = run(tmp_path / "hsm", WHOLE)
    assert first.errors == ""
    assert first.output["tokens"] == 6
    assert first.output["keys"] == 12
    assert first.output["issued"] == 5
    assert first.output["signatures"] == {"tamga-dev-ca": 6}
    assert first.output["refusals"] == ["KeyNotForCertificates"] * 2
    second = run(tmp_path / "hsm", WHOLE)
    assert second.output["keys"] == 0
    assert second.output["issued"] == 5
    assert second.output["signatures"] == {}
    pki = tmp_path / "hsm" / "pki"
    root, national, citizen, delegate = (
        x509.load_der_x509_certificate((pki / f"{name}.cer").read_bytes())
        for name in ("root-ca", "national-ca", "citizen-ca", "ocsp-citizen-ca")
    )
    root.verify_directly_issued_by(root)
    national.verify_directly_issued_by(root)
    citizen.verify_directly_issued_by(national)
    delegate.verify_directly_issued_by(citizen)
    key = root.public_key()
    assert getattr(key, "key_size", 0) == 4096
    assert delegate.not_valid_after_utc == NOW + timedelta(days=7)
