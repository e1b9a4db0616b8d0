"""What a start loads: without a look for garbage, and without what others alone use."""

import gc
import subprocess
import sys

import pytest

from webapi.loading import loading


def test_nothing_is_collected_while_modules_are_loaded() -> None:
    assert gc.isenabled()
    with loading():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_who_collects_nothing_goes_on_so() -> None:
    gc.disable()
    try:
        with loading():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_it_is_collected_again_after_a_module_that_cannot_be_loaded() -> None:
    with pytest.raises(ImportError), loading():
        raise ImportError
    assert gc.isenabled()


def test_neither_migrations_nor_the_driver_of_another_database_are_loaded() -> None:
    loaded = "webapi.worker, webapi.entry, webapi.cli.elections"
    code = f"import sys, {loaded}; print(sorted({{'alembic', 'psycopg'}} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
