"""docs/hsm.md: its commands exist; and all of it typed along, for real, on SoftHSM."""

import os
import re
import shlex
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import click
import pytest

from tests.support.processes import free_ports
from webapi.cli import main
from webapi.config import load_settings

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "hsm.md").read_text(encoding="utf-8")
SECONDS = 600
BLOCKS = re.findall(r"^```sh\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def commands() -> list[str]:
    """Every call of tamga in the guide, in blocks and in the text."""
    text = "\n".join(BLOCKS).replace("\\\n", " ") + "\n".join(re.findall(r"`(tamga [^`]+)`", GUIDE))
    return sorted(set(re.findall(r"\btamga (?:[a-z][^\n<>|&;#]*)", text)))


@pytest.mark.parametrize("line", commands())
def test_a_command_of_the_guide_is_one_that_tamga_has(line: str) -> None:
    words = shlex.split(line.replace("…", ""))[1:]
    context = click.Context(main)
    command: click.Command = main
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name = words.pop(0)
        found = command.get_command(context, name)
        assert found is not None, f"there is no command {name}"
        context, command = click.Context(found, parent=context), found
    if isinstance(command, click.Group):
        return  # "any command of this group"
    known = {option for parameter in command.params for option in parameter.opts}
    for word in words:
        if word.startswith("--"):
            assert word in known, f"{line} has no option {word}"


def test_the_settings_of_the_guide_are_ones_that_tamga_takes(tmp_path: Path) -> None:
    (block,) = [block for block in BLOCKS if "cat > tamga.toml" in block]
    declared = [block for block in BLOCKS if "cat >> tamga.toml" in block]
    writing = block.partition("export TAMGA_CONFIG")[0]
    for more in declared:
        writing += more[more.index("cat >> ") : more.index("\nEOF\n") + len("\nEOF\n")]
    subprocess.run(["bash", "-euc", writing], cwd=tmp_path, check=True)
    settings = load_settings(tmp_path / "tamga.toml", {})
    assert set(settings.tokens) == {"login", "receipts", "pki", "audit"}
    assert len(settings.keys) == len(declared) == 1


def test_the_guide_has_commands() -> None:
    assert len(commands()) >= 15


def script(https: int, ocsp: int) -> str:
    """All commands, with ports that nobody else has."""
    assert len(BLOCKS) >= 10
    text = "set -euo pipefail\n" + "\n".join(BLOCKS)
    return text.replace("8443", str(https)).replace("8480", str(ocsp))


@pytest.mark.long
def test_the_guide_leads_from_an_empty_folder_to_a_service_that_rolled_a_key(
    tmp_path: Path,
) -> None:
    https, ocsp = free_ports(2)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for name in ("SOFTHSM2_CONF", "TAMGA_CONFIG"):
        environment.pop(name, None)
    # A session of its own: passphrases come from the script, not from this terminal.
    with subprocess.Popen(
        ["bash", "-c", script(https, ocsp)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output[-6000:]
    assert "never-extractable yes" in output
    assert output.count("Response verify OK") >= 1
    assert "OCSP of Citizen CA B" in output.partition("Response verify OK")[2]
    assert "good signature: CN=bat" in (tmp_path / "verified.txt").read_text()
    retired = output[output.rindex("ocsp-citizen-ca  retired") :]
    assert "may-sign NO" in retired
    for pin in (tmp_path / "pins").iterdir():
        assert pin.read_text() not in output
