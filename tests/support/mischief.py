"""A real PKCS#11 module with a bad character: mischief.c, compiled, and the orders it takes.

Orders and the record of calls are files in a folder, so that they hold for every process that has
the folder in its environment, and can change while a call is under way.
"""

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import pytest

from tests.support.softhsm import MODULE

FOLDER_VARIABLE = "MISCHIEF"
WRAPPED_VARIABLE = "SHIM_OF"
FOR_EVER = -1

_SOURCE = Path(__file__).with_name("mischief.c")


class Trick(StrEnum):
    """What a call meets with; see mischief.c."""

    ANSWER = "answer"
    AFTER = "after"
    DELAY = "delay"
    HANG = "hang"
    KILL = "kill"
    SHORT = "short"
    SPOIL = "spoil"


@dataclass(frozen=True, slots=True)
class Mischief:
    """The folder of one module's orders; it exists."""

    folder: Path

    @property
    def environment(self) -> Mapping[str, str]:
        """For processes that are to meet with it."""
        return {FOLDER_VARIABLE: str(self.folder)}

    def order(
        self,
        function: str,
        trick: Trick,
        argument: int = 0,
        *,
        skip: int = 0,
        times: int = FOR_EVER,
    ) -> None:
        """Order a trick, in place of an earlier one of the same function.

        Args:
            function: its name, C_Sign for instance.
            trick: what it meets with.
            argument: the code of ANSWER and AFTER, the milliseconds of DELAY.
            skip: so many calls pass first, counted over all processes.
            times: so many then meet with it.
        """
        path = self.folder / function
        new = path.with_suffix(".new")
        new.write_text(f"{trick} {argument} {skip} {times}\n", encoding="ascii")
        new.replace(path)

    def answer(self, function: str, code: int, *, skip: int = 0, times: int = FOR_EVER) -> None:
        """Order a return code in place of the call."""
        self.order(function, Trick.ANSWER, code, skip=skip, times=times)

    def calm(self, function: str) -> None:
        """End the trick; calls that hang in it go on."""
        (self.folder / function).unlink(missing_ok=True)

    @contextmanager
    def hanging(self, function: str, *, skip: int = 0, times: int = FOR_EVER) -> Iterator[None]:
        """Let calls hang until the block ends."""
        self.order(function, Trick.HANG, skip=skip, times=times)
        try:
            yield
        finally:
            self.calm(function)

    def calls(self) -> Counter[str]:
        """How often each function was called, in all processes."""
        try:
            return Counter((self.folder / "calls").read_text(encoding="ascii").split())
        except FileNotFoundError:
            return Counter()


def compile_mischief(module: Path) -> None:
    """Compile the shim of SoftHSM; SHIM_OF in the environment makes it another module's.

    It wraps a copy, whose state is its own: the original may be in use in the same process.
    """
    original = module.with_suffix(".wrapped")
    shutil.copy(MODULE, original)
    options = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f'-DMODULE="{original}"']
    subprocess.run(["gcc", *options, "-o", str(module), str(_SOURCE)], check=True)


@pytest.fixture(scope="session")
def mischief_module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SoftHSM with a bad character, compiled for this run; without orders it has none."""
    module = tmp_path_factory.mktemp("mischief") / "mischief.so"
    compile_mischief(module)
    return module


@pytest.fixture
def mischief(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mischief:
    """Orders for this process, and for those that it starts."""
    made = Mischief(tmp_path / "mischief")
    made.folder.mkdir()
    monkeypatch.setenv(FOLDER_VARIABLE, str(made.folder))
    return made
