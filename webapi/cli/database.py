"""`tamga db`: the database's tables."""

import os
from pathlib import Path

import click

from webapi.config import load_settings
from webapi.storage.engine import make_engine, upgrade


@click.group("db")
def database() -> None:
    """Create and upgrade the service's tables."""


@database.command("upgrade")
@click.pass_obj
def upgrade_tables(config: Path) -> None:
    """Create the tables that are missing; data that is there is never altered."""
    upgrade(make_engine(load_settings(config, os.environ).database.url))
    click.echo("The database is up to date.")
