"""`tamga receipt verify`: needs three files, no network, no configuration and no service."""

import json
import sys
from pathlib import Path
from typing import Never

import click

from signer.receipts.errors import FormatRefused, ReceiptRefused
from signer.receipts.leaf import SLOT_SECONDS
from signer.receipts.policy import MAX_POLICY_BYTES, Policy
from signer.receipts.receipt import MAX_RECEIPT_BYTES
from signer.receipts.verify import VerifiedReceipt, verify_receipt

MAX_BALLOT_BYTES = 64 * 2**20

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.group()
def receipt() -> None:
    """Check ballot receipts."""


@receipt.command()
@click.option("--receipt", "receipt_file", type=_FILE, required=True, help="The .tlog-proof file.")
@click.option("--ballot", type=_FILE, required=True, help="The sealed ballot, as it was sent.")
@click.option("--policy", type=_FILE, required=True, help="The log's trust policy.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document.")
def verify(receipt_file: Path, ballot: Path, policy: Path, *, as_json: bool) -> None:
    """Check that a ballot was accepted: exit 0 if the receipt proves it, 1 if it is refused.

    Compare the policy's fingerprint with one that was published elsewhere: the policy file
    itself may come from the very party that is being checked.
    """
    try:
        trusted = Policy.parse(_read(policy, MAX_POLICY_BYTES))
        verified = verify_receipt(
            _read(receipt_file, MAX_RECEIPT_BYTES), _read(ballot, MAX_BALLOT_BYTES), trusted
        )
    except (FormatRefused, ReceiptRefused) as error:
        _refuse(error, as_json=as_json)
    if as_json:
        click.echo(json.dumps(_members(verified)))
        return
    _tell(verified)


def _read(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise FormatRefused(f"{path.name} is longer than {limit} bytes")
    return data


def _refuse(error: Exception, *, as_json: bool) -> Never:
    reason = type(error).__name__
    if as_json:
        click.echo(json.dumps({"verified": False, "reason": reason, "detail": str(error)}))
    else:
        click.echo(f"REFUSED ({reason}): {error}.")
        click.echo("This receipt does not prove that the ballot was accepted.")
    sys.exit(1)


def _members(verified: VerifiedReceipt) -> dict[str, str | int | bool | list[str]]:
    return {
        "verified": True,
        "origin": verified.origin,
        "election_id": verified.election_id,
        "index": verified.index,
        "size": verified.size,
        "root": verified.root.hex(),
        "manifest_sha256": verified.manifest_sha256.hex(),
        "accepted_from_unix": verified.accepted_slot * SLOT_SECONDS,
        "keys": [key.algorithm.name for key in verified.keys],
        "policy_sha256": verified.policy_sha256.hex(),
    }


def _tell(verified: VerifiedReceipt) -> None:
    keys = ", ".join(key.algorithm.name for key in verified.keys)
    click.echo("VERIFIED: this ballot was accepted.")
    click.echo(f"  election            {verified.election_id}")
    click.echo(f"  log                 {verified.origin}")
    click.echo(f"  entry               {verified.index} of {verified.size}")
    click.echo(f"  signed with         {keys}")
    click.echo(f"  election manifest   {verified.manifest_sha256.hex()}")
    click.echo(f"  policy fingerprint  {verified.policy_sha256.hex()}")
    click.echo("Compare the policy fingerprint (SHA-256) with one published elsewhere.")
    click.echo("The receipt tells neither the vote nor whether a later ballot replaced it.")
