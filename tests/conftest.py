"""The run says which real modules signed, and fails if one that it needs did not."""

import gc
import os
import signal
from collections.abc import Iterator

import hypothesis
import pytest

from tests.soak.report import reports as soaks
from tests.support.signatures import reports
from tests.support.versions import versions

# `databases` imports `postgres`, which therefore is registered first.
pytest_plugins = [
    "tests.support.card",
    "tests.support.postgres",
    "tests.support.databases",
    "tests.support.backups",
    "tests.support.softhsm",
    "tests.support.mischief",
    "tests.support.modules",
    "tests.support.key_desk",
]

# These tests sign with real tokens; a run that contains them must show signatures by their modules.
_NEEDS = {"test_softhsm_keys.py": "libsofthsm2", "test_agent_card.py": "opensc-pkcs11"}
_SUITES_OF_MODULES = {"test_modules.py", "test_module_loads.py"}
COLLECTION = (20_000, 20, 20)
"""Python's own are (700, 10, 10): `gc.set_threshold`."""

_needed: set[str] = set()
_engines_needed: set[str] = set()

# Hundreds of processes of the service are started: without files of bytecode each would compile all
# of it anew, which is half of its start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# What a shell runs in the background ignores Ctrl-C, and so does what that starts. Tests press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# `make test-long` looks twenty times as long for bytes that a parser chokes on.
hypothesis.settings.register_profile("long", max_examples=2_000, deadline=None, print_blob=True)
# A slow machine is no failed test: speed is measured in bench/. Nor is bad luck: every run looks at
# the same cases, and a long one at new ones.
hypothesis.settings.register_profile("default", deadline=None, derandomize=True)
hypothesis.settings.load_profile("default")


def pytest_collection_finish(session: pytest.Session) -> None:
    if session.config.option.collectonly:
        return
    files = {item.path.name for item in session.items}
    _needed.update(module for file, module in _NEEDS.items() if file in files)
    _needed.update(
        str(item.callspec.params["rig"])
        for item in session.items
        if isinstance(item, pytest.Function) and item.path.name in _SUITES_OF_MODULES
    )
    if any(_wants_postgresql(item) for item in session.items):
        _engines_needed.add("PostgreSQL")
    # What was loaded and collected stays to the end: a seventh of a run went into looking at it
    # again and again. A test of what is left behind asks for a collection itself.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTION)


def _wants_postgresql(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    return "postgresql" in parameters.values() or any(
        name.endswith("postgresql_server") for name in fixtures
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    yield
    if session.exitstatus == pytest.ExitCode.OK and (_silent() or _absent()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    found = reports()
    if found:
        terminalreporter.section("signatures by real modules")
    for report in found:
        terminalreporter.write_line(
            f"{report.module} process {report.process_id}: "
            f"{report.signatures} signatures by {report.token}"
        )
    for module in sorted(_silent()):
        terminalreporter.write_line(f"FAILED: no signature by {module}", red=True)
    terminalreporter.section("databases")
    told = ", ".join(f"{name} {number}" for name, number in versions.items())
    terminalreporter.write_line(told)
    if soaks:
        terminalreporter.section("soaks")
    for soak in soaks:
        for line in soak.lines():
            terminalreporter.write_line(line)
    for engine in sorted(_absent()):
        terminalreporter.write_line(f"FAILED: no test ran on {engine}", red=True)


def _absent() -> set[str]:
    """Database engines that tests were to run on, and none did."""
    return _engines_needed - versions.keys()


def _silent() -> set[str]:
    """Modules that were needed and did not sign, and cards that ran and did not."""
    signed = {report.module.name for report in reports() if report.signatures > 0}
    missing = {module for module in _needed if not any(module in name for name in signed)}
    idle = {report.token for report in reports() if report.signatures == 0}
    return missing | idle if _needed else set()
