"""What the demonstration plays on: a home, its service, the citizen's agent and card."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from webapi.cli import CONFIG_VARIABLE
from webapi.cli.demo.client import Client
from webapi.cli.demo.narrator import DemoFailed, Narrator
from webapi.cli.home import Home, Ports
from webapi.role_process import stop_all

AGENT_SECONDS = 60.0
COMMAND_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class AgentAnswer:
    """What the citizen's program said.

    Attributes:
        token: a Web eID token, or None if it refused.
        error: code, message and tries left of a refusal.
    """

    token: dict[str, Any] | None = field(repr=False)
    error: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything a scene needs.

    Attributes:
        narrator: tells what happens.
        home: the demonstration's folder.
        ports: where the service listens.
        card_module: the card's PKCS#11 module.
        card_environment: leads PC/SC programs to the virtual reader.
    """

    narrator: Narrator
    home: Home
    ports: Ports
    card_module: Path
    card_environment: Mapping[str, str]

    def browser(self) -> Client:
        """A browser without cookies that trusts the development root."""
        return Client(self.ports.origin, self.home.root_pem)

    def ask_agent(self, nonce: str, pin_file: Path) -> AgentAnswer:
        """Let the agent sign a challenge with the card; the PIN never is an argument."""
        request = json.dumps({"challengeNonce": nonce, "origin": self.ports.origin})
        command = [sys.executable, "-m", "pkcs11_bridge.agent", "authenticate", request]
        command += ["--origins", str(self.home.origins), "--module", str(self.card_module)]
        command += ["--pin-file", str(pin_file), "--wait", "10"]
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=AGENT_SECONDS,
            env={**os.environ, **self.card_environment},
        )
        try:
            said = json.loads(done.stdout)
        except ValueError:
            raise DemoFailed(
                f"the agent ended with {done.returncode} and said: {done.stderr[-500:]}",
                "Run `tamga-agent authenticate --help`, and look at the text above.",
            ) from None
        if done.returncode == 0:
            return AgentAnswer(said, {})
        return AgentAnswer(None, said.get("error", {}))

    def tamga(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run the tamga command on this home, in a process of its own."""
        return subprocess.run(
            [sys.executable, "-m", "webapi.cli", *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            cwd=cwd,
            env={**os.environ, CONFIG_VARIABLE: str(self.home.config)},
        )

    def operator(self, *arguments: str) -> str:
        """Run the tamga command as the operator does; it must succeed."""
        done = self.tamga(*arguments)
        if done.returncode != 0:
            raise DemoFailed(
                f"`tamga {' '.join(arguments)}` failed: {done.stderr[-800:]}",
                "Run that command yourself with TAMGA_CONFIG set to " + str(self.home.config),
            )
        return done.stdout


@contextmanager
def running_service(stage: Stage) -> Iterator[Path]:
    """`tamga serve` as a process, ended on the way out; gives the file of its log."""
    log = stage.home.directory / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "webapi.cli", "serve", "--end-with-parent", str(os.getpid())],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, CONFIG_VARIABLE: str(stage.home.config)},
            process_group=0,
        )
        try:
            yield log
            if process.poll() is not None:
                raise DemoFailed(
                    f"the service ended with {process.returncode}", f"Look into {log}."
                )
        finally:
            stop_all([process])
