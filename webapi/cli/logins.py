"""`tamga login export`: the record of a login's decision, for an auditor."""

import os
from pathlib import Path

import click

from webapi.config import load_settings
from webapi.decision_record import export_record
from webapi.storage.engine import make_engine
from webapi.storage.evidence import SqlEvidenceStore
from webapi.storage.realm import Realm
from webapi.storage.version import require_current


@click.group()
def login() -> None:
    """What is kept of logins."""


@login.command()
@click.argument("evidence_id")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The new file; without it the record is printed.",
)
@click.pass_obj
def export(config: Path, *, evidence_id: str, output: Path | None) -> None:
    """Write the record of one decision; the log names it as the evidence_id of "signed_in".

    The record holds the person's certificate and identifier: hand it over like any personal data.
    `tamga ocsp replay` makes the decision again.
    """
    engine = make_engine(load_settings(config, os.environ).database.login.url, Realm.LOGIN)
    try:
        require_current(engine, Realm.LOGIN)
        evidence = SqlEvidenceStore(engine).find(evidence_id)
    finally:
        engine.dispose()
    if evidence is None:
        raise click.ClickException(
            "there is no record of such a decision; one made by an older version has none"
        )
    record = export_record(evidence)
    if output is None:
        click.echo(record.decode(), nl=False)
        return
    try:
        with os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(record)
    except FileExistsError:
        raise click.ClickException(f"{output} is there already; name a new file") from None
    click.echo(f"{output}: the record of {evidence_id}")
