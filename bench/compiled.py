"""The small C programs of this folder."""

import subprocess
from pathlib import Path


def compiled(name: str, folder: Path) -> Path:
    """Compile `name`.c into a folder; returns the program."""
    program = folder / name
    source = Path(__file__).with_name(f"{name}.c")
    subprocess.run(["gcc", "-O2", "-o", str(program), str(source)], check=True)
    return program
