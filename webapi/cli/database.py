"""`tamga db`: the database's tables."""

import os
from pathlib import Path

import click

from webapi.config import load_settings
from webapi.storage.engine import opened_engine
from webapi.storage.migration import upgrade
from webapi.storage.realm import Realm
from webapi.storage.roles import RealmRoles, roles_sql
from webapi.storage.urls import is_sqlite, postgresql_url, role_in


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
            upgrade(engine, realm, runtime_role=role_in(databases.of(realm).url))
        click.echo(f"{realm}: up to date")


@database.command("roles")
@click.option(
    "--realm",
    "realms",
    type=click.Choice([realm.value for realm in Realm]),
    multiple=True,
    help="Of this realm alone; repeat it for each.  [default: every one on PostgreSQL]",
)
@click.pass_obj
def print_roles(config: Path, *, realms: tuple[str, ...]) -> None:
    """Print the SQL by which an administrator makes the roles and schemas; it sets no password.

    Nothing is connected to. Run it in each realm's database, as often as you like: psql reads it.
    """
    databases = load_settings(config, os.environ).database
    for realm in map(Realm, realms or Realm):
        settings = databases.of(realm)
        if is_sqlite(settings.url):
            continue
        owner, runtime = postgresql_url(settings.owner_url), postgresql_url(settings.url)
        click.echo(
            roles_sql(
                RealmRoles(
                    realm,
                    database=str(owner.database),
                    owner=str(owner.username),
                    runtime=str(runtime.username),
                )
            )
        )
