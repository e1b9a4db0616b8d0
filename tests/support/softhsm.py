"""Real SoftHSM tokens for tests: one configuration per pytest process, a token per test.

SoftHSM reads SOFTHSM2_CONF when the module is initialised, so the whole process shares one
directory. ``tests/conftest.py`` registers the fixtures.
"""

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.pin import FilePinSource
from pkcs11_bridge.uri import Pkcs11Uri

MODULE = Path("/usr/lib/softhsm/libsofthsm2.so")
PIN = "648219"
SO_PIN = "12345678"

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class SoftHsm:
    """A SoftHSM configuration in a directory of its own."""

    directory: Path

    @property
    def conf(self) -> Path:
        return self.directory / "softhsm2.conf"

    @property
    def latch_directory(self) -> Path:
        return self.directory / "latches"

    @property
    def environment(self) -> dict[str, str]:
        """For subprocesses."""
        return {**os.environ, "SOFTHSM2_CONF": str(self.conf)}

    def make_token(self, label: str = "", pin: str = PIN) -> TokenConfig:
        """A fresh token; an empty label gets a name that no other test has."""
        label = label or f"token-{next(_numbers)}"
        options = {"--label": label, "--so-pin": SO_PIN, "--pin": pin}
        subprocess.run(
            ["softhsm2-util", "--init-token", "--free", *itertools.chain(*options.items())],
            check=True,
            capture_output=True,
            env=self.environment,
        )
        return self.config(label, self.pin_file(label, pin))

    def pin_file(self, name: str, pin: str) -> Path:
        path = self.directory / f"{name}.pin"
        path.touch(mode=0o600)
        path.write_text(pin + "\n", encoding="utf-8")
        return path

    def config(
        self,
        label: str,
        pin_file: Path,
        *,
        module: Path = MODULE,
        sessions: int = 4,
        wait_seconds: float = 5.0,
    ) -> TokenConfig:
        return TokenConfig(
            module=module,
            uri=Pkcs11Uri(token=label),
            pin_source=FilePinSource(pin_file),
            latch_directory=self.latch_directory,
            sessions=sessions,
            wait_seconds=wait_seconds,
        )


def make_softhsm(directory: Path) -> SoftHsm:
    """Write the configuration; the caller sets SOFTHSM2_CONF."""
    softhsm = SoftHsm(directory)
    (directory / "tokens").mkdir(mode=0o700, parents=True)
    softhsm.conf.write_text(
        f"directories.tokendir = {directory / 'tokens'}\n"
        "log.level = ERROR\n"
        "library.reset_on_fork = false\n",
        encoding="utf-8",
    )
    return softhsm


@pytest.fixture(scope="session")
def softhsm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftHsm]:
    """The process's SoftHSM; never skipped: a missing module fails the test."""
    made = make_softhsm(tmp_path_factory.mktemp("softhsm"))
    before = os.environ.get("SOFTHSM2_CONF")
    os.environ["SOFTHSM2_CONF"] = str(made.conf)
    yield made
    if before is None:
        del os.environ["SOFTHSM2_CONF"]
    else:
        os.environ["SOFTHSM2_CONF"] = before


@pytest.fixture
def token(softhsm: SoftHsm) -> TokenConfig:
    """A fresh token of its own for one test."""
    return softhsm.make_token()


def start_worker(
    softhsm: SoftHsm,
    config: TokenConfig,
    task: str,
    environment: dict[str, str] | None = None,
    **order: object,
) -> subprocess.Popen[str]:
    """Start tests.support.token_worker on a token."""
    assert isinstance(config.pin_source, FilePinSource)
    whole = {
        "task": task,
        "module": str(config.module),
        "token": config.uri.token,
        "pin_file": str(config.pin_source.path),
        "latches": str(config.latch_directory),
        **order,
    }
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.token_worker", json.dumps(whole)],
        env={**softhsm.environment, **(environment or {})},
        stdout=subprocess.PIPE,
        text=True,
    )


def finish_worker(process: subprocess.Popen[str], timeout: float = 60.0) -> dict[str, Any]:
    """What the worker told; a worker that hangs or crashes fails the test."""
    try:
        output, _ = process.communicate(timeout=timeout)
    finally:
        process.kill()
    assert process.returncode == 0, f"the worker ended with {process.returncode}"
    told: dict[str, Any] = json.loads(output)
    return told


def run_worker(
    softhsm: SoftHsm,
    config: TokenConfig,
    task: str,
    environment: dict[str, str] | None = None,
    **order: object,
) -> dict[str, Any]:
    """Start a worker and wait for what it tells."""
    return finish_worker(start_worker(softhsm, config, task, environment, **order))
