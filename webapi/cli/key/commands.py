"""`tamga key create/csr/import-cert/list/attest/retire`: the commands, each a thin one.

The group takes the path of the configuration file as `ctx.obj`, as `tamga` leaves it there, and
replaces it by a function that opens the desk.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pkcs11_bridge.errors import PinSourceUnreadable
from pkcs11_bridge.mechanisms import KeyAlgorithm
from signer.payload import CERTIFIED_PURPOSES, Purpose
from webapi import clock
from webapi.cli.key.attestation import attestation
from webapi.cli.key.desk import KeyDesk, usual_algorithm
from webapi.cli.key.facts import UNLISTED, KeyFacts, fingerprint_of
from webapi.cli.key.files import new_file
from webapi.cli.key.record import recording
from webapi.config import load_settings
from webapi.settings_tokens import Zone
from webapi.trust_settings import read_certificate_file
from webapi.wiring import Wiring

DeskOpener = Callable[[], AbstractContextManager[KeyDesk]]


@contextmanager
def open_desk(config: Path) -> Iterator[KeyDesk]:
    """The keys of the service that the configuration file describes; logged out at the end."""
    wiring = Wiring(load_settings(config, os.environ), ask_at_terminal)
    try:
        yield KeyDesk(wiring, clock.now())
    finally:
        wiring.close()


def ask_at_terminal(zone: Zone) -> str:
    """A zone's PIN, typed unseen; raises PinSourceUnreadable where nobody is there to type."""
    if not sys.stdin.isatty():
        raise PinSourceUnreadable(f"nobody is at a terminal to type the PIN of [tokens.{zone}]")
    typed: str = click.prompt(f"PIN of [tokens.{zone}]", hide_input=True, err=True)
    return typed


@click.group()
@click.pass_context
def key(ctx: click.Context) -> None:
    """Make, certify, list and retire the service's keys, on the tokens of the settings.

    Keys are named by PKCS#11 URIs (RFC 7512). A private key never leaves its token, and nothing
    here removes one. Exit code 0: done; 1: refused, with the reason; 2: the command was wrong.
    """
    if isinstance(ctx.obj, Path):
        ctx.obj = partial(open_desk, ctx.obj)


_purpose = click.argument("purpose", type=click.Choice([str(purpose) for purpose in Purpose]))
_json = click.option("--json", "as_json", is_flag=True, help="One JSON document.")
_record = click.option(
    "--record",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The record of the ceremony (`tamga ceremony begin`) that this is a step of.",
)
_key = click.option("--key", "uri", help="Its PKCS#11 URI, where the purpose has several keys.")


@key.command()
@_purpose
@click.option("--label", help="Label on the token.  [default: PURPOSE]")
@click.option(
    "--algorithm",
    type=click.Choice([str(algorithm) for algorithm in KeyAlgorithm]),
    help="RSA for OCSP answers and revocation lists alone.  [default: what the purpose needs]",
)
@_record
@_json
@click.pass_obj
def create(
    open_it: DeskOpener,
    *,
    purpose: str,
    label: str | None,
    algorithm: str | None,
    record: Path | None,
    as_json: bool,
) -> None:
    """Make a key for PURPOSE in its token: sensitive, never extractable.

    The first key of a purpose bears its name. A successor is called PURPOSE-… (a year, for
    instance), and signs nothing until the settings name it.
    """
    label = label or purpose
    kind = KeyAlgorithm(algorithm) if algorithm else usual_algorithm(Purpose(purpose))
    with (
        recording(record, f"tamga key create {purpose} --label {label}") as recorded,
        open_it() as desk,
    ):
        made = desk.create(Purpose(purpose), label, kind)
        recorded(made, desk.token(Purpose(purpose)), {})
    _report(made, as_json=as_json)
    if made.state == UNLISTED and not as_json:
        click.echo(f'Next, in the settings:\n\n[[keys.{purpose}]]\nkey = "{made.uri}"')
        click.echo('state = "next"')


@key.command()
@_purpose
@_key
@click.option(
    "--subject", required=True, help='Whom the certificate names: "CN=OCSP 2027,O=Example,C=MN".'
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Where the request goes, PEM; never overwritten.",
)
@_record
@_json
@click.pass_obj
def csr(
    open_it: DeskOpener,
    *,
    purpose: str,
    uri: str | None,
    subject: str,
    out: Path,
    record: Path | None,
    as_json: bool,
) -> None:
    """Write a request for a certificate (PKCS#10), signed in the token.

    Only a key that is not yet in service signs one, under a permit of its own. Keep the file: a
    CA renews the certificate of the same key with it.
    """
    if Purpose(purpose) not in CERTIFIED_PURPOSES:
        raise click.ClickException(f"refused: a key for {purpose} needs no certificate")
    try:
        name = x509.Name.from_rfc4514_string(subject)
    except ValueError as error:
        raise click.UsageError("--subject is a name as RFC 4514 writes it") from error
    with (
        recording(record, f"tamga key csr {purpose} --subject {subject}") as recorded,
        open_it() as desk,
        new_file(out) as write,
    ):
        request = desk.request(Purpose(purpose), uri, name)
        write(request.public_bytes(Encoding.PEM))
        facts = desk.one(Purpose(purpose), uri)
        made = {"request_sha256": fingerprint_of(request.public_bytes(Encoding.DER))}
        recorded(facts, desk.token(Purpose(purpose)), made)
    if as_json:
        click.echo(json.dumps({"request": str(out), "key": facts.members()}, ensure_ascii=False))
        return
    click.echo(f"{out}: have the CA certify it, then `tamga key import-cert {purpose} FILE`")


@key.command("import-cert")
@_purpose
@click.argument("certificate", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@_key
@click.option("--onto-token", is_flag=True, help="Put it beside the key on the token, too.")
@_record
@_json
@click.pass_obj
def import_cert(
    open_it: DeskOpener,
    *,
    purpose: str,
    certificate: Path,
    uri: str | None,
    onto_token: bool,
    record: Path | None,
    as_json: bool,
) -> None:
    """Check the certificate in the file CERTIFICATE, and put it where the service reads it.

    It must be of the token's key, issued by the CA of the settings, and fit for the purpose.
    """
    found = read_certificate_file(certificate)
    with (
        recording(record, f"tamga key import-cert {purpose}") as recorded,
        open_it() as desk,
    ):
        facts = desk.import_certificate(Purpose(purpose), uri, found, onto_token=onto_token)
        imported = {"certificate_sha256": fingerprint_of(found.public_bytes(Encoding.DER))}
        recorded(facts, desk.token(Purpose(purpose)), imported)
    _report(facts, as_json=as_json)


@key.command("list")
@_json
@click.pass_obj
def list_keys(open_it: DeskOpener, *, as_json: bool) -> None:
    """List every key: purpose, state, URI, attributes, certificate.

    Exit code 1 if a key that signs is missing or can leave its token.
    """
    with open_it() as desk:
        listed = desk.every()
    if as_json:
        click.echo(json.dumps([facts.members() for facts in listed], ensure_ascii=False))
    else:
        for facts in listed:
            click.echo("\n".join(facts.lines()))
    if any(facts.is_bad for facts in listed):
        raise SystemExit(1)


@key.command()
@_purpose
@_key
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Where the statement goes; never overwritten.",
)
@click.pass_obj
def attest(open_it: DeskOpener, *, purpose: str, uri: str | None, out: Path) -> None:
    """Write down what the token says of a key, to be signed by a person.

    It is the operator's statement and no proof by the device: it says what this program read
    from the token. Sign it with `tamga ceremony sign`.
    """
    with open_it() as desk, new_file(out) as write:
        facts = desk.one(Purpose(purpose), uri)
        write(attestation(facts, desk.token(Purpose(purpose)), at=clock.now()))
    click.echo(f"{out}: unsigned; `tamga ceremony sign {out}` signs it, `verify` checks it")


@key.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="Where the file goes; never overwritten.",
)
@click.pass_obj
def origins(open_it: DeskOpener, *, out: Path) -> None:
    """Write the file by which agents know this service: its login-challenge keys.

    While one key follows another it pins both. Agents get it with their installation, or by a
    signed update, before the next key takes over.
    """
    with open_it() as desk, new_file(out) as write:
        write(desk.pinned_origins().encode())
    click.echo(f"{out}: compare its keys with `tamga key list` before you hand it out")


@key.command()
@_purpose
@click.option("--key", "uri", required=True, help="Its PKCS#11 URI.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_record
@_json
@click.pass_obj
def retire(
    open_it: DeskOpener, *, purpose: str, uri: str, yes: bool, record: Path | None, as_json: bool
) -> None:
    """Mark a key as retired on its token, which then lets it sign nothing.

    The settings must have declared it retired before. The key itself stays on the token.
    """
    with (
        recording(record, f"tamga key retire {purpose} --key {uri}") as recorded,
        open_it() as desk,
    ):
        if not yes:
            facts = desk.one(Purpose(purpose), uri)
            click.echo("\n".join(facts.lines()), err=True)
            click.confirm("Retire this key?", abort=True, err=True)
        retired = desk.retire(Purpose(purpose), uri)
        recorded(retired, desk.token(Purpose(purpose)), {})
    _report(retired, as_json=as_json)


def _report(facts: KeyFacts, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(facts.members(), ensure_ascii=False))
        return
    click.echo("\n".join(facts.lines()))
    public_key = None if facts.attributes is None else facts.attributes.public_key
    if public_key is not None:
        pem = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        click.echo(pem.decode("ascii"), nl=False)
