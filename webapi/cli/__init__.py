"""The tamga command: each group is loaded only when it is called.

`tamga receipt verify` must work on an auditor's machine that has no service,
no token and no configuration, so nothing is imported here that it lacks.
"""

import importlib
import os
from pathlib import Path

import click

from webapi.loading import loading

DEFAULT_CONFIG = Path("var/tamga/tamga.toml")
CONFIG_VARIABLE = "TAMGA_CONFIG"

_COMMANDS = {
    "audit": "webapi.cli.audit:audit",
    "backup": "webapi.cli.backup:backup",
    "card": "webapi.cli.card:card",
    "ceremony": "webapi.cli.ceremony:ceremony",
    "db": "webapi.cli.database:database",
    "demo": "webapi.cli.development:demo",
    "doctor": "webapi.cli.doctor:doctor",
    "election": "webapi.cli.elections:election",
    "init": "webapi.cli.development:init",
    "key": "webapi.cli.key.commands:key",
    "log": "webapi.cli.logs:log",
    "login": "webapi.cli.logins:login",
    "ocsp": "webapi.cli.ocsp:ocsp",
    "pki": "webapi.cli.pki:pki",
    "receipt": "webapi.cli.receipts:receipt",
    "serve": "webapi.cli.serve:serve",
}


class _LazyGroup(click.Group):
    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if _is_explained(error):
                raise click.ClickException(str(error)) from error
            raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name].partition(":")
        with loading():
            command = getattr(importlib.import_module(module), attribute)
        if not isinstance(command, click.Command):
            msg = f"{_COMMANDS[cmd_name]} is not a command"
            raise TypeError(msg)
        return command


def _is_explained(error: Exception) -> bool:
    """Whether the error's text is enough; looked up only now, and only where the parts are."""
    try:
        explained = importlib.import_module("webapi.cli.explained").EXPLAINED
    except ImportError:
        return False
    return isinstance(error, explained)


@click.group(cls=_LazyGroup)
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    default=lambda: Path(os.environ.get(CONFIG_VARIABLE, DEFAULT_CONFIG)),
    show_default=f"${CONFIG_VARIABLE} or {DEFAULT_CONFIG}",
    help="The service's TOML file.",
)
@click.pass_context
def main(ctx: click.Context, config: Path) -> None:
    """Tamga: logins by ID card, signatures by HSM, ballot receipts anyone can check."""
    ctx.obj = config
