"""`tamga ceremony`: the record of a key ceremony, and the signatures of those who were there.

Statements of `tamga key attest` are signed and verified here as well.
"""

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import click
from cryptography import x509

from pkcs11_bridge.agent.ending import end_in_order
from pkcs11_bridge.process_guard import forbid_core_dumps
from signer.ceremony import FORMAT as CEREMONY
from signer.ceremony import Person, begin_ceremony, require_participant, verify_ceremony
from signer.errors import CeremonyWrong, StatementMalformed
from signer.statement import (
    SignedStatement,
    UnverifiedStatement,
    protected_header,
    read_statement,
    signing_input,
    verify_statement,
    with_signature,
)
from webapi import clock
from webapi.cli.key.attestation import FORMAT as KEY_STATEMENT
from webapi.cli.key.attestation import software
from webapi.cli.key.files import replace_file
from webapi.cli.person_key import CardOfPerson, KeyFileOfPerson, PersonKey
from webapi.config import load_settings
from webapi.trust_settings import read_certificate_file

_file = click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
_json = click.option("--json", "as_json", is_flag=True, help="One JSON document.")


@click.group()
def ceremony() -> None:
    """Record a key ceremony, sign the record, check it.

    Begin one, run `tamga key … --record FILE` for each step, then let every person sign.
    """


@ceremony.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--person",
    "persons",
    nargs=2,
    type=str,
    multiple=True,
    required=True,
    metavar="NAME ROLE",
    help="At least two; the name as in the certificate that the person signs with.",
)
@click.pass_obj
def begin(config: Path, *, file: Path, persons: tuple[tuple[str, str], ...]) -> None:
    """Begin the record FILE, which must not exist."""
    settings = load_settings(config, os.environ)
    begun = begin_ceremony(
        [Person(name, role) for name, role in persons],
        service=settings.service.origin,
        software=software(),
        at=clock.now(),
    )
    try:
        with file.open("xb") as made:
            made.write(begun.serialise())
    except OSError as error:
        raise click.ClickException(f"{file} cannot be made: {error.strerror}") from error
    click.echo(f"{file}: run `tamga key … --record {file}` for each step")


@ceremony.command()
@_file
def show(file: Path) -> None:
    """Show what a record or statement says, and its fingerprint; believe nothing of it yet.

    The fingerprint is for paper: where somebody has no card, they sign it by hand.
    """
    statement = read_statement(file.read_bytes())
    click.echo(json.dumps(statement.unverified_members, indent=2, ensure_ascii=False))
    click.echo(f"SHA-256 of what is signed: {_fingerprint(statement)}")


@ceremony.command()
@_file
@click.option(
    "--module",
    type=click.Path(exists=True, dir_okay=False, path_type=Path, resolve_path=True),
    help="Sign with a card: its PKCS#11 module, for example OpenSC's.",
)
@click.option("--reader", "reader_name", help="The reader, where several hold cards.")
@click.option(
    "--key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Sign with a key in a file: PKCS#8, PEM, with a passphrase.",
)
@click.option(
    "--certificate",
    "certificate_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The certificate of --key-file.",
)
def sign(
    file: Path,
    *,
    module: Path | None,
    reader_name: str | None,
    key_file: Path | None,
    certificate_file: Path | None,
) -> None:
    """Sign FILE as the person whom the certificate names; read `ceremony show` first.

    With a card, its signing certificate is used, and the card is closed again. The first
    signature ends a ceremony.
    """
    forbid_core_dumps()
    end_in_order()
    statement = read_statement(file.read_bytes())
    is_ceremony = _is_ceremony(statement)
    if module is not None and key_file is None:
        person: PersonKey = CardOfPerson(
            module, reader_name, _ask_unseen("PIN of the card"), _ask_about_final_try
        )
    elif key_file is not None and certificate_file is not None and module is None:
        certificate = read_certificate_file(certificate_file)
        person = KeyFileOfPerson(key_file, certificate, _ask_unseen("Passphrase of the key"))
    else:
        raise click.UsageError("sign with --module, or with --key-file and --certificate")

    def prepare(certificate: x509.Certificate) -> tuple[str, bytes]:
        if is_ceremony:
            require_participant(statement, certificate)
        protected = protected_header(certificate, at=clock.now())
        return protected, signing_input(statement, protected)

    protected, signature = person.sign(prepare)
    # Somebody else may have signed while this person typed. A step that came then was not seen by
    # them, and would be gone if the file were written as it was read.
    present = read_statement(file.read_bytes())
    if present.payload != statement.payload:
        raise CeremonyWrong(f"{file} was changed while you signed: read it again, then sign")
    signed = with_signature(present, protected, signature)
    replace_file(file, signed.serialise())
    click.echo(f"{file}: {len(signed.signatures)} signature(s), SHA-256 {_fingerprint(signed)}")


@ceremony.command()
@_file
@click.option(
    "--authority",
    "authority_files",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    required=True,
    help="Certificate of a CA of the persons, or a self-signed one of theirs; repeat it for each.",
)
@_json
def verify(file: Path, *, authority_files: tuple[Path, ...], as_json: bool) -> None:
    """Check FILE offline: the signatures, who signed, and that nobody is missing.

    Get the authorities' certificates from elsewhere than the file. Exit code 1: it is not good.
    """
    authorities = [read_certificate_file(path) for path in authority_files]
    statement = read_statement(file.read_bytes())
    if _is_ceremony(statement):
        signed = verify_ceremony(statement, authorities)
    else:
        signed = verify_statement(statement, authorities, least=1)
    told = _told(statement, signed)
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    click.echo(json.dumps(told["statement"], indent=2, ensure_ascii=False))
    click.echo(f"SHA-256 of what is signed: {told['sha256']}")
    for signer in signed.signers:
        subject = signer.certificate.subject.rfc4514_string()
        click.echo(f"good signature: {subject}, {signer.signed_at:%F %T} UTC by the signer's clock")


def _is_ceremony(statement: UnverifiedStatement) -> bool:
    """Whether it is a ceremony's record (True) or a statement about a key (False).

    Raises:
        StatementMalformed: something else, of which nobody here knows how many must sign it.
    """
    kind = statement.unverified_members.get("format")
    if kind not in {CEREMONY, KEY_STATEMENT}:
        raise StatementMalformed("it is neither a ceremony's record nor a statement about a key")
    return kind == CEREMONY


def _told(statement: UnverifiedStatement, signed: SignedStatement) -> dict[str, object]:
    return {
        "statement": dict(signed.members),
        "sha256": _fingerprint(statement),
        "signers": [
            {
                "name": signer.name,
                "subject": signer.certificate.subject.rfc4514_string(),
                "issuer": signer.certificate.issuer.rfc4514_string(),
                "signed_at": signer.signed_at.isoformat(),
            }
            for signer in signed.signers
        ],
    }


def _fingerprint(statement: UnverifiedStatement) -> str:
    return hashlib.sha256(statement.payload.encode("ascii")).hexdigest()


def _ask_about_final_try() -> bool:
    question = "One PIN try is left: a wrong PIN locks the card. Go on?"
    return click.confirm(question, default=False, err=True)


def _ask_unseen(what: str) -> Callable[[], str]:
    def ask() -> str:
        typed: str = click.prompt(what, hide_input=True, err=True)
        return typed

    return ask
