"""`tamga demo` as a person runs it: real processes, real card protocol, nothing left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from signer.receipts.policy import Policy
from signer.receipts.verify import verify_receipt
from tests.support.processes import assert_none_left, free_ports

STEPS = [
    "HSM and PKI",
    "card",
    "service",
    "login",
    "wrong PIN",
    "fake service",
    "suspended card",
    "ballot",
    "offline check",
]


def command(directory: Path, ports: list[int]) -> list[str]:
    return [
        sys.executable,
        "-m",
        "webapi.cli",
        "demo",
        "--directory",
        str(directory),
        "--https-port",
        str(ports[0]),
        "--ocsp-port",
        str(ports[1]),
    ]


def demo(directory: Path, ports: list[int]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(directory, ports),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        cwd=directory.parent,
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
    )


@pytest.fixture(scope="module")
def performed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("demo") / "home"
    done = demo(directory, free_ports(2))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Everything held." in done.stdout
    assert_none_left(str(directory))
    return directory


def test_the_summary_tells_what_happened(performed: Path) -> None:
    summary = json.loads((performed / "summary.json").read_text())
    assert [step["name"] for step in summary["steps"]] == STEPS
    assert all(step["ok"] and step["seconds"] >= 0 for step in summary["steps"])
    login = summary["login"]
    assert login["subject"] == "PNOMN-110000000017"
    assert login["ocsp"]["status"] == "good"
    assert set(login["ocsp"]) == {"status", "responder", "this_update"}
    assert Path(login["module"]).name == "opensc-pkcs11.so"
    assert login["amr"] == ["hwk", "pin"]
    assert len(login["certificate_sha256"]) == 64


def test_the_receipt_that_it_leaves_verifies(performed: Path) -> None:
    receipt = json.loads((performed / "summary.json").read_text())["receipt"]
    files = {
        name: (performed.parent / receipt[name]).read_bytes()
        for name in ("tlog_proof", "ballot", "policy")
    }
    verified = verify_receipt(files["tlog_proof"], files["ballot"], Policy.parse(files["policy"]))
    assert (verified.origin, verified.index, verified.size) == (
        receipt["origin"],
        receipt["index"],
        receipt["size"],
    )
    assert [key.algorithm.name for key in verified.keys] == ["ECDSA_P256", "ED25519"]


def test_no_pin_is_in_the_log(performed: Path) -> None:
    log = (performed / "service.log").read_text()
    pins = [path.read_text().strip() for path in performed.rglob("*pin")]
    assert len(pins) >= 6
    assert not [pin for pin in pins if pin in log]


@pytest.mark.long
def test_a_second_run_reuses_what_is_there(performed: Path) -> None:
    kept = {
        path: path.read_bytes()
        for path in (performed / "hsm" / "tokens").rglob("*.object")
        if path.name != "token.object"  # SoftHSM notes each login in it
    }
    certificates = (performed / "pki" / "issued.json").read_bytes()
    done = demo(performed, _ports(performed))
    assert done.returncode == 0, done.stdout + done.stderr
    assert kept
    assert {path: path.read_bytes() for path in kept} == kept
    assert (performed / "pki" / "issued.json").read_bytes() == certificates


def _ports(directory: Path) -> list[int]:
    lines = (directory / "tamga.toml").read_text().splitlines()
    return [int(line.split("=")[1]) for line in lines if line.startswith("listen_port")]


def test_a_taken_port_is_explained(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        done = demo(tmp_path / "home", [taken, *free_ports(1)])
    assert done.returncode == 1
    assert f"port {taken} is in use" in done.stdout
    assert "next step" in done.stdout
    assert "--https-port" in done.stdout
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(signal.SIGINT, marks=pytest.mark.long),
        pytest.param(signal.SIGTERM, marks=pytest.mark.long),
        signal.SIGKILL,
    ],
)
def test_whoever_ends_it_leaves_nothing_running(performed: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        command(performed, _ports(performed)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "service" in line:
                break
        time.sleep(1.0)
        process.send_signal(number)
        process.communicate(timeout=60)
    assert process.returncode != 0
    assert_none_left(str(performed), seconds=60)
