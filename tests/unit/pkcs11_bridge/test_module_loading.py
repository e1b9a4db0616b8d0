"""One module for a path in a process, and none that waits for another's."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pkcs11_bridge import module as module_code
from pkcs11_bridge.module import load_module
from tests.support.faults import await_fact

LONG = 120.0
GOOD, HANGING = Path("/good.so"), Path("/hanging.so")


class Loaded:
    """What stands in for a module whose C_Initialize may hang."""

    begun = 0
    go_on = threading.Event()

    def __init__(self, path: Path, _library: object) -> None:
        if path == HANGING:
            Loaded.begun += 1
            assert Loaded.go_on.wait(LONG)

    def require_own_process(self) -> None:
        """It is."""


def test_a_module_that_hangs_as_it_is_loaded_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module_code, "Module", Loaded)
    for name in ("_modules", "_loading"):
        monkeypatch.setattr(module_code, name, {})
    with ThreadPoolExecutor(3) as callers:
        try:
            hanging = [callers.submit(load_module, HANGING) for _ in range(2)]
            await_fact(lambda: Loaded.begun == 1)
            good = callers.submit(load_module, GOOD)
            assert good.result(LONG / 2) is load_module(GOOD)
        finally:
            Loaded.go_on.set()
        assert hanging[0].result(LONG) is hanging[1].result(LONG)
    assert Loaded.begun == 1
