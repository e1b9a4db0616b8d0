"""`tamga card`: what is in the readers, without a PIN."""

import json
from datetime import UTC
from pathlib import Path

import click
from cryptography import x509

from pkcs11_bridge.card import open_card
from pkcs11_bridge.readers import list_readers, pin_tries_left, wait_for_card

_json = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


@click.group()
def card() -> None:
    """Readers and cards of this computer; nothing here asks for a PIN."""


@card.command("list")
@_json
def list_cards(*, as_json: bool) -> None:
    """List the readers, and which of them hold a card."""
    readers = list_readers()
    if as_json:
        members = [
            {"reader": reader.name, "atr": reader.atr.hex() if reader.atr else None}
            for reader in readers
        ]
        click.echo(json.dumps(members))
        return
    if not readers:
        click.echo("No reader is connected.")
    for reader in readers:
        state = f"card, ATR {reader.atr.hex()}" if reader.atr else "empty"
        click.echo(f"{reader.name}: {state}")


@card.command()
@click.option(
    "--module",
    type=click.Path(exists=True, dir_okay=False, path_type=Path, resolve_path=True),
    required=True,
    help="The card's PKCS#11 module, for example OpenSC's.",
)
@click.option("--reader", "reader_name", help="The reader, where several hold cards.")
@_json
def show(*, module: Path, reader_name: str | None, as_json: bool) -> None:
    """Show the certificates on a card, and the PIN tries left."""
    reader = wait_for_card(0, reader_name)
    tries = pin_tries_left(reader.name)
    with open_card(module, reader.name) as session:
        found = [_members(stored.label, stored.unverified_der) for stored in session.certificates()]
    if as_json:
        members = {"reader": reader.name, "tries_left": tries, "certificates": found}
        click.echo(json.dumps(members, ensure_ascii=False))
        return
    click.echo(f"{reader.name}: PIN tries left: {'unknown' if tries is None else tries}")
    for certificate in found:
        click.echo(f"  {certificate['label']}: {certificate['subject']}")
        click.echo(f"      issued by {certificate['issuer']}, until {certificate['not_after']}")


def _members(label: str, unverified_der: bytes) -> dict[str, str]:
    try:
        certificate = x509.load_der_x509_certificate(unverified_der)
        return {
            "label": label,
            "subject": certificate.subject.rfc4514_string(),
            "issuer": certificate.issuer.rfc4514_string(),
            "serial": f"{certificate.serial_number:x}",
            "not_after": certificate.not_valid_after_utc.astimezone(UTC).isoformat(),
        }
    except ValueError:
        unreadable = "unreadable"
        return dict.fromkeys(("subject", "issuer", "serial", "not_after"), unreadable) | {
            "label": label
        }
