"""The worker's lease: one holder, and whoever lost it knows."""

import gc
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests.support.databases import Database
from tests.support.faults import await_fact
from webapi.storage.engine import make_engine
from webapi.storage.errors import DatabaseUnavailable
from webapi.storage.lease import WorkerLease
from webapi.storage.realm import Realm

HOLDER = """
import sys, time
from webapi.storage.engine import make_engine
from webapi.storage.lease import WorkerLease
from webapi.storage.realm import Realm
lease = WorkerLease(make_engine(sys.argv[1], Realm.BALLOTS))
print(lease.acquire(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def engine(database: Database) -> Engine:
    return database.engine(Realm.BALLOTS)


@pytest.fixture
def sqlite_engine(tmp_path: Path) -> Engine:
    """Of a file that nobody needs to open for this."""
    folder = tmp_path / "ballots"
    folder.mkdir(mode=0o700)
    return make_engine(f"sqlite:///{folder}/ballots.db", Realm.BALLOTS)


def lock_file(engine: Engine) -> Path:
    (found,) = Path(str(engine.url.database)).parent.glob("*.worker-lock")
    return found


def test_a_second_one_does_not_get_it(engine: Engine) -> None:
    first, second = WorkerLease(engine), WorkerLease(engine)
    assert first.acquire()
    assert not second.acquire()
    assert (first.is_held(), second.is_held()) == (True, False)
    second.release()  # of what it has not
    assert first.is_held()
    first.release()
    assert not first.is_held()
    assert second.acquire()


def test_taken_twice_it_is_given_up_once(engine: Engine) -> None:
    first, second = WorkerLease(engine), WorkerLease(engine)
    assert first.acquire()
    assert first.acquire()
    first.release()
    first.release()
    assert second.acquire()


def test_a_killed_holder_holds_nothing(engine: Engine) -> None:
    url = engine.url.render_as_string(hide_password=False)
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        lease = WorkerLease(engine)
        assert not lease.acquire()
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        await_fact(lease.acquire)  # the server notices the end of a session a moment later


def test_whose_file_was_removed_has_lost_it(sqlite_engine: Engine) -> None:
    first, second = WorkerLease(sqlite_engine), WorkerLease(sqlite_engine)
    assert first.acquire()
    lock_file(sqlite_engine).unlink()
    assert not first.is_held()
    assert second.acquire()
    assert not first.is_held()
    assert not first.acquire()


def test_the_file_is_its_owners_alone(sqlite_engine: Engine) -> None:
    WorkerLease(sqlite_engine).acquire()
    assert lock_file(sqlite_engine).stat().st_mode & 0o777 == 0o600


def test_without_the_folder_nobody_can_say_who_has_it(tmp_path: Path) -> None:
    lease = WorkerLease(
        make_engine(f"sqlite:///{tmp_path / 'absent' / 'ballots.db'}", Realm.BALLOTS)
    )
    with pytest.raises(DatabaseUnavailable):
        lease.acquire()
    assert not lease.is_held()


def test_descriptors_are_given_back(sqlite_engine: Engine) -> None:
    lease, other = WorkerLease(sqlite_engine), WorkerLease(sqlite_engine)
    assert other.acquire()
    gc.collect()  # what another test left gives its descriptors back before they are counted
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        assert not lease.acquire()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
