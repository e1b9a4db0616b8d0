"""The guide's examples work under the systemd unit that is delivered with it."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs" / "operator.md").read_text(encoding="utf-8")
UNIT = (ROOT / "deploy" / "systemd" / "tamga@.service").read_text(encoding="utf-8")
WRITABLE = ("/var/lib/tamga", "/run/tamga")


def written_places() -> list[str]:
    """Folders and SQLite files in the guide's TOML examples."""
    examples = "\n".join(re.findall(r"```toml\n(.*?)```", GUIDE, re.DOTALL))
    folders = re.findall(r'^\w*directory = "([^"]*)"', examples, re.MULTILINE)
    return folders + re.findall(r'^url = "sqlite:///([^"]*)"', examples, re.MULTILINE)


def test_there_are_examples_of_what_is_written() -> None:
    assert len(written_places()) >= 5


@pytest.mark.parametrize("place", written_places())
def test_the_unit_lets_the_service_write_what_an_example_names(place: str) -> None:
    assert any(Path(place).is_relative_to(folder) for folder in WRITABLE)


def test_the_unit_makes_those_folders_and_runs_what_the_guide_installs() -> None:
    assert {"StateDirectory=tamga", "RuntimeDirectory=tamga", "User=tamga"} <= set(UNIT.split())
    (program,) = re.findall(r"^ExecStart=(/opt/tamga)/bin/tamga ", UNIT, re.MULTILINE)
    assert f"python3 -m venv {program}\n" in GUIDE
    for lock in re.findall(r"deploy/locks/\w+\.txt", GUIDE):
        assert (ROOT / lock).is_file()
