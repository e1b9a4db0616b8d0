"""A sealed ballot, its receipt, and the check that needs nobody."""

import hashlib
import json
import secrets
import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from signer.receipts.registration import sign_receipt_request, sign_registration
from webapi import clock
from webapi.cli.demo.client import Answer, Client
from webapi.cli.demo.narrator import DemoFailed
from webapi.cli.demo.stage import Stage
from webapi.wiring import LOG_PURPOSES

BALLOT_BYTES = 4096
RECEIPT_SECONDS = 15.0
_POLL_SECONDS = 0.2
_LOOK_AT_LOG = "Look into service.log in the demonstration's folder."


@dataclass(frozen=True, slots=True)
class VotersFiles:
    """What the voter holds."""

    tlog_proof: Path
    policy: Path
    ballot: Path


@dataclass(frozen=True, slots=True)
class ReceiptFacts:
    """What the verifier said of the receipt."""

    origin: str
    index: int
    size: int


def register_ballot(stage: Stage) -> VotersFiles:
    """Open an election, register a sealed ballot as its election system, fetch the receipt."""
    election_id = f"demo-{clock.now():%Y%m%d-%H%M%S}"
    _open_election(stage, election_id)
    folder = stage.home.directory / "voter"
    folder.mkdir(exist_ok=True)
    # What is inside a sealed ballot is nobody's business here: any bytes will do.
    ballot = folder / "ballot.sealed"
    ballot.write_bytes(secrets.token_bytes(BALLOT_BYTES))
    text = _receipt_text(stage, election_id, ballot)
    receipt = folder / "receipt.tlog-proof"
    receipt.write_bytes(text)
    policy = folder / "policy"
    policy.write_bytes(stage.browser().get(f"/log/{election_id}/policy").body)
    stage.narrator.fact("receipt", f"{len(text)} bytes, tlog-proof")
    return VotersFiles(tlog_proof=receipt, policy=policy, ballot=ballot)


def verify_offline(stage: Stage, held: VotersFiles) -> ReceiptFacts:
    """Check the receipt in a folder that holds three files; then flip a byte in each."""
    with tempfile.TemporaryDirectory(prefix="tamga-auditor-") as name:
        files = [
            Path(shutil.copy(source, name))
            for source in (held.tlog_proof, held.ballot, held.policy)
        ]
        said = _verify(stage, files, expected=0)
        stage.narrator.fact("verified", f"entry {said['index']} of {said['size']}")
        stage.narrator.fact("signed by", f"{said['origin']}, {' and '.join(said['keys'])}")
        for file in files:
            good = file.read_bytes()
            middle = len(good) // 2
            file.write_bytes(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
            refusal = _verify(stage, files, expected=1)
            file.write_bytes(good)
            stage.narrator.fact("refused", f"one bit of {file.name} flipped: {refusal['reason']}")
    return ReceiptFacts(origin=said["origin"], index=said["index"], size=said["size"])


def _open_election(stage: Stage, election_id: str) -> None:
    now = clock.now()
    options = {
        "--title": "Tamga demonstration",
        "--domain": "receipts.localhost",
        "--opens-at": f"{now - timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ}",
        "--closes-at": f"{now + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}",
        "--system-key": str(stage.home.election_public_key),
    }
    arguments = [part for option in options.items() for part in option]
    for purpose in LOG_PURPOSES:
        arguments += ["--standby-key", str(stage.home.standby_key(purpose))]
    stage.operator("election", "create", election_id, *arguments)
    stage.narrator.fact("election", election_id)


def _receipt_text(stage: Stage, election_id: str, ballot: Path) -> bytes:
    key = load_pem_private_key(stage.home.election_key.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise DemoFailed("the election system's key is not on P-256", "Run `make clean demo`.")
    submission_id = secrets.token_urlsafe(24)
    system = stage.browser()
    request = sign_registration(
        private_key=key,
        audience=stage.ports.origin,
        election_id=election_id,
        submission_id=submission_id,
        ballot_sha256=hashlib.sha256(ballot.read_bytes()).digest(),
        at=clock.now(),
    )
    path = f"/elections/{election_id}/ballots"
    answer = system.post(path, request.encode(), "application/jose")
    deadline = time.monotonic() + RECEIPT_SECONDS
    while answer.status == 202:  # accepted, its batch is not signed yet
        if time.monotonic() > deadline:
            raise DemoFailed("no receipt came out of the log in time", _LOOK_AT_LOG)
        time.sleep(_POLL_SECONDS)
        answer = _fetch(system, key, stage.ports.origin, election_id, submission_id)
    if answer.status != 200:
        told = answer.json()
        raise DemoFailed(
            f"the registration got {answer.status}, {told.get('code')}: {told.get('title')}",
            str(told.get("next_step", _LOOK_AT_LOG)),
        )
    again = system.post(path, request.encode(), "application/jose")
    if again.json().get("receipt") != answer.json()["receipt"]:
        raise DemoFailed("the same request got another receipt", "This must never happen.")
    stage.narrator.fact("sent again", "the same request, byte for byte the same receipt")
    return str(answer.json()["receipt"]).encode()


def _fetch(
    system: Client,
    key: ec.EllipticCurvePrivateKey,
    audience: str,
    election_id: str,
    submission_id: str,
) -> Answer:
    token = sign_receipt_request(
        private_key=key,
        audience=audience,
        election_id=election_id,
        submission_id=submission_id,
        at=clock.now(),
    )
    return system.get(
        f"/elections/{election_id}/receipts/{submission_id}", {"Authorization": f"Bearer {token}"}
    )


def _verify(stage: Stage, files: list[Path], *, expected: int) -> dict[str, Any]:
    receipt, ballot, policy = files
    command = ["receipt", "verify", "--json", "--receipt", receipt.name]
    command += ["--ballot", ballot.name, "--policy", policy.name]
    done = stage.tamga(*command, cwd=receipt.parent)
    if done.returncode != expected:
        raise DemoFailed(
            f"the verifier ended with {done.returncode}: {done.stdout}{done.stderr}",
            "See docs/auditor.md.",
        )
    said: dict[str, Any] = json.loads(done.stdout)
    return said
