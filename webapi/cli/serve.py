"""`tamga serve`: the supervisor of the service's processes."""

import os
from pathlib import Path

import click

from webapi import clock
from webapi.cli import CONFIG_VARIABLE
from webapi.config import load_settings
from webapi.settings_model import Settings
from webapi.supervisor import Role, RoleEnded, die_with_parent, role_command, supervise

ROLES = ("web", "worker", "ocsp", "metrics")


@click.command()
@click.option(
    "--role",
    "only",
    type=click.Choice(ROLES),
    multiple=True,
    help="Run only this role; may be given more than once. In production each is its own unit.",
)
@click.option(
    "--development",
    is_flag=True,
    help="Make a development home first: software HSM, PKI, card, configuration.",
)
@click.option(
    "--end-with-parent",
    "parent",
    type=click.IntRange(min=1),
    metavar="PROCESS-ID",
    help="Stop when the process that started this one ends, however it ends.",
)
@click.pass_obj
def serve(config: Path, only: tuple[str, ...], *, development: bool, parent: int | None) -> None:
    """Serve until stopped."""
    if parent is not None:
        die_with_parent(parent)
    if development:
        from webapi.cli.development import prepare_beside  # noqa: PLC0415 - never in production

        prepare_beside(config, clock.now())
    settings = load_settings(config, os.environ)
    os.environ[CONFIG_VARIABLE] = str(config.absolute())
    roles = [role for role in ROLES if role in (only or _roles_of(settings))]
    click.echo(f"Serving {settings.service.origin} ({', '.join(roles)}); stop with Ctrl-C")
    try:
        supervise([Role(name, role_command(name)) for name in roles])
    except RoleEnded as error:
        raise click.ClickException(f"{error}; everything else was stopped") from error


def _roles_of(settings: Settings) -> tuple[str, ...]:
    """Every role that the settings describe."""
    optional = {"ocsp": settings.ocsp_listener, "metrics": settings.metrics}
    return tuple(role for role in ROLES if role not in optional or optional[role] is not None)
