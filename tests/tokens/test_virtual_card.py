"""The virtual card behind pcscd, as OpenSC's own programs see it."""

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from softhsm_config.certificate_plan import der
from softhsm_config.errors import CardCommandRefused, ReaderFailed
from softhsm_config.modules import opensc_module
from softhsm_config.virtual_card import control, isolation
from softhsm_config.virtual_card.card_file import PIN_TRIES
from softhsm_config.virtual_card.faults import Faults
from softhsm_config.virtual_card.reader import VirtualReader
from softhsm_config.virtual_card.runner import RuntimeLayout
from softhsm_config.virtual_card.slots import Slot
from tests.support.card import PIN, WRONG_PIN, YUBIKEY_READER, CardRig

MESSAGE = b"what the card signs"
# OpenSC numbers PIV objects 01 (9A), 02 (9C).
AUTHENTICATION_ID, SIGNATURE_ID = "01", "02"


def sign(
    rig: CardRig, tmp_path: Path, *, key: str, mechanism: str, pin: str = PIN
) -> tuple[subprocess.CompletedProcess[str], bytes]:
    message, output = tmp_path / "message", tmp_path / "signature"
    message.write_bytes(MESSAGE)
    output.unlink(missing_ok=True)
    done = rig.pkcs11_tool(
        *("--sign", "--id", key, "--mechanism", mechanism, "--login", "--pin", pin),
        *("--input-file", str(message), "--output-file", str(output)),
    )
    return done, output.read_bytes() if output.exists() else b""


def sign_rsa(rig: CardRig, tmp_path: Path, pin: str = PIN) -> bytes:
    done, signature = sign(
        rig, tmp_path, key=AUTHENTICATION_ID, mechanism="SHA256-RSA-PKCS", pin=pin
    )
    assert done.returncode == 0, done.stderr
    return signature


def test_opensc_sees_the_reader_and_both_certificates(card_rig: CardRig, tmp_path: Path) -> None:
    readers = card_rig.opensc("opensc-tool", "--list-readers").stdout
    assert YUBIKEY_READER in readers
    listed = card_rig.pkcs11_tool("--list-objects", "--type", "cert").stdout
    assert "Certificate for PIV Authentication" in listed
    assert "Certificate for Digital Signature" in listed
    output = tmp_path / "certificate"
    card_rig.pkcs11_tool(
        *("--read-object", "--type", "cert", "--id", AUTHENTICATION_ID),
        *("--output-file", str(output)),
    )
    assert output.read_bytes() == der(card_rig.certificates.authentication)


def test_the_rsa_key_signs_by_pin(card_rig: CardRig, tmp_path: Path) -> None:
    before = card_rig.reader.state().signatures
    signature = sign_rsa(card_rig, tmp_path)
    public_key = card_rig.image.public_key(Slot.AUTHENTICATION)
    assert isinstance(public_key, rsa.RSAPublicKey)
    public_key.verify(signature, MESSAGE, padding.PKCS1v15(), hashes.SHA256())
    assert card_rig.reader.state().signatures == before + 1


def test_the_ec_key_signs_by_pin(ec_card_rig: CardRig, tmp_path: Path) -> None:
    done, raw = sign(ec_card_rig, tmp_path, key=AUTHENTICATION_ID, mechanism="ECDSA-SHA256")
    assert done.returncode == 0, done.stderr
    verify_p256(ec_card_rig, Slot.AUTHENTICATION, raw)


def verify_p256(rig: CardRig, slot: Slot, raw: bytes) -> None:
    public_key = rig.image.public_key(slot)
    assert isinstance(public_key, ec.EllipticCurvePublicKey)
    r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
    public_key.verify(encode_dss_signature(r, s), MESSAGE, ec.ECDSA(hashes.SHA256()))


def test_the_signature_key_wants_the_pin_each_time(card_rig: CardRig, tmp_path: Path) -> None:
    done, raw = sign(card_rig, tmp_path, key=SIGNATURE_ID, mechanism="ECDSA-SHA256")
    assert done.returncode == 0, done.stderr
    verify_p256(card_rig, Slot.SIGNATURE, raw)
    verify = "00:20:00:80:08:" + ":".join(f"{byte:02X}" for byte in PIN.encode().ljust(8, b"\xff"))
    challenge = "00:87:11:9C:26:7C:24:82:00:81:20:" + ":".join(["11"] * 32) + ":00"
    apdus = [word for apdu in (verify, challenge, challenge) for word in ("--send-apdu", apdu)]
    answers = card_rig.opensc("opensc-tool", *apdus).stdout
    assert answers.count("SW1=0x90, SW2=0x00") == 2
    assert answers.count("SW1=0x69, SW2=0x82") == 1


def test_wrong_pins_count_down_and_lock(card_rig: CardRig, tmp_path: Path) -> None:
    seen = []
    for _ in range(PIN_TRIES):
        done, signature = sign(
            card_rig, tmp_path, key=AUTHENTICATION_ID, mechanism="SHA256-RSA-PKCS", pin=WRONG_PIN
        )
        assert done.returncode != 0
        assert not signature
        seen.append(card_rig.reader.state().tries_left)
    assert seen == [2, 1, 0]
    done, _ = sign(card_rig, tmp_path, key=AUTHENTICATION_ID, mechanism="SHA256-RSA-PKCS")
    assert "CKR_PIN_LOCKED" in done.stderr
    card_rig.reader.restore_tries()
    assert sign_rsa(card_rig, tmp_path)


def test_the_lock_outlives_power(card_rig: CardRig, tmp_path: Path) -> None:
    sign(card_rig, tmp_path, key=AUTHENTICATION_ID, mechanism="SHA256-RSA-PKCS", pin=WRONG_PIN)
    card_rig.reader.remove_card()
    card_rig.reader.insert_card()
    assert card_rig.reader.state().tries_left == PIN_TRIES - 1


def test_a_removed_card_signs_nothing_and_a_returned_one_does(
    card_rig: CardRig, tmp_path: Path
) -> None:
    card_rig.reader.remove_card()
    assert not card_rig.reader.state().inserted
    done, signature = sign(card_rig, tmp_path, key=AUTHENTICATION_ID, mechanism="SHA256-RSA-PKCS")
    assert done.returncode != 0
    assert not signature
    card_rig.reader.insert_card()
    with pytest.raises(CardCommandRefused, match="in the reader already"):
        card_rig.reader.insert_card()
    assert sign_rsa(card_rig, tmp_path)


def test_faults_reach_the_programs(card_rig: CardRig, tmp_path: Path) -> None:
    card_rig.reader.set_faults(Faults(corrupt_signatures=True))
    corrupt = sign_rsa(card_rig, tmp_path)
    card_rig.reader.set_faults(Faults())
    # PKCS#1 v1.5 is deterministic: all but the last byte is right.
    assert corrupt == sign_rsa(card_rig, tmp_path)[:-1] + corrupt[-1:]
    assert corrupt != sign_rsa(card_rig, tmp_path)
    card_rig.reader.set_faults(Faults(status_word=0x6F00))
    done, signature = sign(card_rig, tmp_path, key=AUTHENTICATION_ID, mechanism="SHA256-RSA-PKCS")
    assert done.returncode != 0
    assert not signature
    card_rig.reader.set_faults(Faults(signing_seconds=0.6))
    started = time.monotonic()
    assert sign_rsa(card_rig, tmp_path)
    assert time.monotonic() - started > 0.6
    card_rig.reader.set_faults(Faults(remove_while_signing=True))
    done, signature = sign(card_rig, tmp_path, key=AUTHENTICATION_ID, mechanism="SHA256-RSA-PKCS")
    assert done.returncode != 0
    assert not signature
    assert not card_rig.reader.state().inserted


def test_signing_is_not_held_up_by_the_network_stack(card_rig: CardRig) -> None:
    control_socket = str(card_rig.reader.control_socket)
    command = ["-m", "tests.support.card_process", str(opensc_module()), control_socket, "exchange"]
    done = subprocess.run(
        [sys.executable, *command],
        env=card_rig.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    # A delayed acknowledgement takes 40 ms each time; a busy machine holds up some of them.
    assert statistics.median(json.loads(done.stdout)) < 0.04


def test_the_trace_shows_no_pin(card_rig: CardRig, tmp_path: Path) -> None:
    sign_rsa(card_rig, tmp_path)
    trace = card_rig.reader.trace
    assert "> 00200080 [9 bytes masked]" in trace
    assert PIN.encode().hex() not in trace


def test_no_port_is_open_on_the_machine(card_rig: CardRig) -> None:
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", isolation.VPCD_PORT))


MACHINE_WITH_PCSCD = """
import os, subprocess, sys, time
from pathlib import Path
from softhsm_config.virtual_card import isolation
from softhsm_config.virtual_card.reader import VirtualReader

isolation.raise_loopback()
subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
system = isolation.PCSCD_SOCKETS
system.mkdir()
os.mkdir("/run/readers")
pcscd = subprocess.Popen([isolation.PCSCD, "--foreground", "--config", "/run/readers"])
while not (system / "pcscd.comm").exists():
    time.sleep(0.05)

def seen():
    state = (system / "pcscd.comm").stat()
    readers = subprocess.run(["opensc-tool", "-l"], capture_output=True, text=True).stdout
    return state.st_ino, (system / "pcscd.pid").read_text(), readers.strip()

before = seen()
with VirtualReader(Path(sys.argv[1])) as reader:
    assert reader.state().inserted
    assert seen() == before
assert seen() == before
assert pcscd.poll() is None
print(before[2])
"""


def test_a_running_pcscd_is_not_touched(card_rig: CardRig, tmp_path: Path) -> None:
    """On a machine (namespaces again) where a pcscd without readers runs at the usual place."""
    done = subprocess.run(
        [
            *isolation.launcher(allow_sudo=False),
            *(sys.executable, "-c", MACHINE_WITH_PCSCD, str(fresh_image(tmp_path, card_rig))),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "No smart card readers found.\n"


def test_unknown_control_commands_are_refused(card_rig: CardRig) -> None:
    socket_path = Path(card_rig.reader.environment["PCSCLITE_CSOCK_NAME"])
    path = RuntimeLayout(socket_path.parent.parent).control
    with pytest.raises(CardCommandRefused, match="unknown command"):
        control.ask(path, {"command": "explode"}, timeout=5)
    with pytest.raises(CardCommandRefused, match="KeyError"):
        control.ask(path, {}, timeout=5)


def test_a_card_is_in_one_reader_at_a_time(card_rig: CardRig) -> None:
    with (
        pytest.raises(ReaderFailed, match="is in another reader"),
        VirtualReader(card_rig.image.directory),
    ):
        pass


def test_a_missing_image_is_told(tmp_path: Path) -> None:
    with (
        pytest.raises(ReaderFailed, match="holds no readable card"),
        VirtualReader(tmp_path / "nothing"),
    ):
        pass


def test_stop_leaves_nothing(card_rig: CardRig, tmp_path: Path) -> None:
    reader = VirtualReader(fresh_image(tmp_path, card_rig))
    reader.start()
    directory = Path(reader.environment["PCSCLITE_CSOCK_NAME"]).parent.parent
    reader.stop()
    assert not directory.exists()
    assert not processes_naming(directory)
    with pytest.raises(ReaderFailed, match="not running"):
        reader.state()
    reader.stop()


def test_a_killed_parent_leaves_nothing(card_rig: CardRig, tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from softhsm_config.virtual_card.reader import VirtualReader\n"
        "reader = VirtualReader(Path(sys.argv[1]))\n"
        "reader.start()\n"
        "print(reader.environment['PCSCLITE_CSOCK_NAME'], flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(fresh_image(tmp_path, card_rig))],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    with parent.stdout as lines:
        directory = Path(lines.readline().strip()).parent.parent
    assert processes_naming(directory)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 60
    while directory.exists() or processes_naming(directory):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def fresh_image(tmp_path: Path, rig: CardRig) -> Path:
    """A copy of the card: the original is in the running reader."""
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o700)
    for file in rig.image.directory.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def processes_naming(directory: Path) -> list[int]:
    """Processes with this directory in their command line: unshare, runner, pcscd."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if os.fsencode(directory) in line:
                found.append(int(entry.name))
    return found


def test_the_public_key_of_the_certificate_is_the_cards(card_rig: CardRig) -> None:
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    for slot, certificate in (
        (Slot.AUTHENTICATION, card_rig.certificates.authentication),
        (Slot.SIGNATURE, card_rig.certificates.signing),
    ):
        on_card = card_rig.image.public_key(slot)
        encoding = serialization.Encoding.DER
        assert certificate.public_key().public_bytes(encoding, spki) == on_card.public_bytes(
            encoding, spki
        )
