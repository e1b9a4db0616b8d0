"""`tamga db`: the database's tables."""

import os
from pathlib import Path

import click

from webapi.config import load_settings
from webapi.storage.engine import opened_engine
from webapi.storage.migration import upgrade
from webapi.storage.realm import Realm


@click.group("db")
def database() -> None:
    """Create and upgrade the service's tables."""


@database.command("upgrade")
@click.pass_obj
def upgrade_tables(config: Path) -> None:
    """Bring the tables of every realm to this version."""
    databases = load_settings(config, os.environ).database
    for realm in Realm:
        with opened_engine(databases.of(realm).owner_url, realm) as engine:
            upgrade(engine, realm)
        click.echo(f"{realm}: up to date")
