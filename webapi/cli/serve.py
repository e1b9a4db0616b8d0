"""`tamga serve`: the supervisor of the service's processes."""

import os
from pathlib import Path

import click

from webapi import clock
from webapi.cli import CONFIG_VARIABLE
from webapi.config import ConfigurationWrong, load_settings
from webapi.logs import configure_logs
from webapi.role_process import Role, adopt_orphans
from webapi.settings_model import Settings
from webapi.supervisor import (
    NeverCameUp,
    PlanRefused,
    Supervisor,
    die_with_parent,
    protect_memory,
    role_command,
)

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
    # Roles protect themselves; this process reads the same settings and environment.
    protect_memory()
    adopt_orphans()
    if development:
        from webapi.cli.development import prepare_beside  # noqa: PLC0415 - never in production

        prepare_beside(config, clock.now())
    settings = load_settings(config, os.environ)
    os.environ[CONFIG_VARIABLE] = str(config.absolute())
    names = _names_of(settings, only)
    click.echo(f"Serving {settings.service.origin} ({', '.join(names)}); stop with Ctrl-C")
    configure_logs()

    def plan() -> list[Role]:
        try:
            current = load_settings(config, os.environ)
        except ConfigurationWrong as error:
            raise PlanRefused(
                [f"{found.key}: {found.wrong}. {found.remedy}" for found in error.findings]
            ) from error
        return [_role(name, current) for name in _names_of(current, only)]

    try:
        Supervisor(plan).run()
    except (NeverCameUp, PlanRefused) as error:
        raise click.ClickException(f"{error}; everything else was stopped") from error
    except OSError as error:
        wrong = f"a process could not be started: {error}; everything else was stopped"
        raise click.ClickException(wrong) from error


def _names_of(settings: Settings, only: tuple[str, ...]) -> list[str]:
    """The roles asked for, otherwise every role that the settings describe."""
    optional = {"ocsp": settings.ocsp_listener, "metrics": settings.metrics}
    described = [role for role in ROLES if role not in optional or optional[role] is not None]
    return [role for role in ROLES if role in (only or described)]


def _role(name: str, settings: Settings) -> Role:
    """How a role is run: each of granian's workers reports, metrics alone shares no port."""
    listener = settings.ocsp_listener
    workers = {"web": settings.service.workers, "ocsp": listener.workers if listener else 1}
    return Role(
        name,
        role_command(name),
        reports=workers.get(name, 1),
        beside=name != "metrics",
    )
