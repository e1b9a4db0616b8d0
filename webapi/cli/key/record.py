"""Steps of a key ceremony, added to its record by the commands that do them."""

import os
import pwd
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import click

from pkcs11_bridge.key_attributes import TokenIdentity
from signer.ceremony import require_open, with_step
from signer.statement import read_statement
from webapi import clock
from webapi.cli.key.attestation import key_members, software
from webapi.cli.key.facts import KeyFacts
from webapi.cli.key.files import replace_file

Recorded = Callable[[KeyFacts, TokenIdentity, Mapping[str, object]], None]
"""Takes the key as it is after the step, its token, and what more is to be told."""


@contextmanager
def recording(path: Path | None, command: str) -> Iterator[Recorded]:
    """Have a command's step recorded, where a record is named.

    The record is looked at before anything is done: a step that could not be recorded is not done.

    Args:
        path: of the record; None for a step outside of any ceremony.
        command: what is run.

    Raises:
        signer.errors.StatementError: it is no record, or somebody has signed it.
    """
    if path is not None:
        require_open(read_statement(path.read_bytes()))

    def record(facts: KeyFacts, token: TokenIdentity, more: Mapping[str, object]) -> None:
        if path is None:
            return
        step = {
            "account": _account(),
            "command": command,
            "key": key_members(facts),
            "software": software(),
            "token": asdict(token),
            **more,
        }
        extended = with_step(read_statement(path.read_bytes()), step, at=clock.now())
        replace_file(path, extended.serialise())
        click.echo(f"recorded in {path}", err=True)

    yield record


def _account() -> str:
    """Who runs this, by the kernel: variables like LOGNAME say what somebody wrote into them."""
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
