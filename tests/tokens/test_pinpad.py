"""A token with a pinpad of its own: no PIN passes through this program, and the latch holds."""

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pkcs11_bridge.config import TokenConfig
from tests.support.softhsm import MODULE, PIN, SoftHsm

# In a process of its own: here SoftHSM may be loaded without the pinpad.
PROGRAM = """
import json, sys
from pathlib import Path
from pkcs11_bridge.config import TokenConfig
from pkcs11_bridge.errors import TokenError
from pkcs11_bridge.keyring import KeyAlgorithm, generate_key
from pkcs11_bridge.pin_sources import nobody_to_ask, parse_pin_source
from pkcs11_bridge.session import TokenSessions
from pkcs11_bridge.uri import Pkcs11Uri

module, label, latches = sys.argv[1:]
source = parse_pin_source("pinpad", nobody_to_ask)
config = TokenConfig(Path(module), Pkcs11Uri(token=label), source, Path(latches))
try:
    with TokenSessions(config) as sessions:
        key = generate_key(sessions, "key", KeyAlgorithm.EC_P256)
        print(json.dumps(len(key.sign_digest(bytes(32), "sha256"))))
except TokenError as error:
    print(json.dumps(type(error).__name__))
"""


@dataclass(frozen=True)
class Pinpad:
    """The token, and what a person types on it."""

    softhsm: SoftHsm
    token: TokenConfig
    module: Path
    typed: Path

    def use(self) -> object:
        """A signature's length, or the name of the error."""
        arguments = (self.module, self.token.uri.token or "", self.token.latch_directory)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, *map(str, arguments)],
            env={**self.softhsm.environment, "PINPAD": str(self.typed)},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return json.loads(done.stdout)

    def latches(self) -> set[Path]:
        """Those of all tokens of the run."""
        return set(self.token.latch_directory.glob("*.latch"))

    @property
    def asked(self) -> int:
        """How often the token asked for the PIN."""
        record = self.typed.with_name("typed.asked")
        return record.stat().st_size if record.exists() else 0


@pytest.fixture
def pinpad(softhsm: SoftHsm, token: TokenConfig, tmp_path: Path) -> Pinpad:
    module = tmp_path / "pinpad.so"
    source = Path(__file__).parents[1] / "support" / "pinpad.c"
    options = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", f'-DSOFTHSM="{MODULE}"']
    subprocess.run(["gcc", *options, "-o", str(module), str(source)], check=True)
    return Pinpad(softhsm, token, module, tmp_path / "typed")


def test_after_a_wrong_entry_nobody_is_asked_until_a_person_removes_the_latch(
    pinpad: Pinpad,
) -> None:
    before = pinpad.latches()
    pinpad.typed.write_text("000000")
    assert pinpad.use() == "PinIncorrect"
    pinpad.typed.write_text(PIN)
    assert pinpad.use() == "PinLatched"
    assert pinpad.asked == 1
    (latch,) = pinpad.latches() - before
    latch.unlink()
    assert pinpad.use() == 64
    assert pinpad.asked == 2


def test_a_token_without_a_pinpad_is_not_tried(pinpad: Pinpad) -> None:
    before = pinpad.latches()
    assert replace(pinpad, module=MODULE).use() == "Misconfigured"
    assert pinpad.latches() == before
