"""What two of our processes do at once: what is once stays once, and close comes last."""

import json
import secrets
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, text

from signer.login.challenge import IssuedChallenge, StockedNonce
from signer.payload import Purpose
from signer.permit import PermitRecord
from signer.receipts.acceptance import NewRegistration
from signer.receipts.batch import BatchView, NewEntry
from signer.receipts.errors import (
    ElectionOver,
    FenceLost,
    LogForked,
)
from signer.receipts.log_store import SignedCheckpoint
from tests.support.certificates import NOW
from tests.support.databases import Database, PostgresDatabase
from tests.support.faults import await_fact
from tests.support.login import ORIGIN
from tests.support.receipt_disk import ReceiptDisk, submission_id
from tests.support.receipts import ELECTION
from webapi.storage.certificates import CertificateRecordedOtherwise, SqlCertificateStore
from webapi.storage.challenges import SqlChallengeStore
from webapi.storage.elections import Lock, election_row
from webapi.storage.log_store import SqlLogStore
from webapi.storage.realm import Realm
from webapi.storage.registrations import SqlRegistrationStore, registrations

THREADS = 8
LATER = NOW + timedelta(hours=1)
SECONDS = 60.0


def outcomes(actions: Sequence[Callable[[], object]]) -> list[object]:
    """What each action returned or raised; they begin together."""
    barrier = threading.Barrier(THREADS)
    rest = iter(actions)
    taking = threading.Lock()
    found: list[object] = []

    def work() -> None:
        barrier.wait()
        while True:
            with taking:
                action = next(rest, None)
            if action is None:
                return
            try:
                result = action()
            except Exception as error:  # noqa: BLE001 - the test looks at what it was
                result = type(error)
            found.append(result)

    with ThreadPoolExecutor(THREADS) as pool:
        for running in [pool.submit(work) for _ in range(THREADS)]:
            running.result()
    return found


def registration(number: int, *, ballot: int = 0) -> NewRegistration:
    return NewRegistration(
        submission_id(number),
        bytes([ballot]) * 32,
        bytes(32),
        1,
        b"salt",
        b"evidence",
        in_batch=False,
    )


@pytest.fixture
def disk(tmp_path: Path, database: Database) -> ReceiptDisk:
    return ReceiptDisk(tmp_path, database=database).create()


def test_of_a_thousand_submissions_of_one_id_one_is_accepted(disk: ReceiptDisk) -> None:
    store = disk.registrations

    def submit(number: int) -> Callable[[], object]:
        return lambda: store.insert(ELECTION, [registration(7, ballot=number % 2)])

    found = Counter(outcomes([submit(number) for number in range(1000)]))
    assert found == {frozenset({submission_id(7)}): 1, frozenset(): 999}
    assert store.count(ELECTION) == 1


def test_a_certificate_is_registered_once_and_for_one_person(database: Database) -> None:
    store = SqlCertificateStore(database.engine(Realm.PKI))

    def register(subject: str) -> Callable[[], None]:
        return lambda: store.register(ca="ca", serial=7, subject=subject, not_after=LATER)

    subjects = ["CN=A", "CN=B"] * 50
    found = Counter(outcomes([register(subject) for subject in subjects]))
    assert found == {None: 50, CertificateRecordedOtherwise: 50}
    assert len(store.records()) == 1


def test_every_drawn_nonce_is_drawn_once_while_any_is_left(database: Database) -> None:
    store = SqlChallengeStore(database.engine(Realm.LOGIN))
    nonces = [f"{number:0128d}" for number in range(200)]
    store.add_stock([StockedNonce(ORIGIN, nonce, LATER) for nonce in nonces])
    found = outcomes([lambda: store.draw(ORIGIN, usable_until=NOW)] * 200)
    # With as many draws as nonces none may come back empty-handed: nobody waits for another's.
    assert sorted(item.nonce for item in found if isinstance(item, StockedNonce)) == nonces


def test_two_holders_never_have_one_intent(disk: ReceiptDisk) -> None:
    log = disk.log

    def intend(size: int, root: int, holder: str) -> Callable[[], object]:
        def act() -> object:
            permit = PermitRecord(
                permit_id=secrets.token_hex(16),
                purpose=Purpose.RECEIPT_LOG,
                owner=ELECTION,
                digest=bytes(32),
                issued_at=NOW,
                expires_at=LATER,
            )
            log.intend(
                ELECTION,
                previous_size=0,
                size=size,
                root=bytes([root]) * 32,
                holder=holder,
                permits=[permit],
            )
            return holder, root

        return act

    actions = [intend(1, number % 2, f"h{number % 3}") for number in range(60)]
    found = Counter(outcomes(actions))
    winners = [result for result in found if isinstance(result, tuple)]
    assert len(winners) == 1
    assert found.keys() - set(winners) == {FenceLost, LogForked}


def test_of_simultaneous_checkpoints_of_one_size_one_is_committed(disk: ReceiptDisk) -> None:
    def commit(number: int) -> Callable[[], object]:
        note = b"note %d" % number
        made = SignedCheckpoint(1, bytes(32), note, previous_size=0, released=False)
        return lambda: disk.log.commit_checkpoint(ELECTION, made)

    assert Counter(outcomes([commit(n) for n in range(40)])) == {None: 1, FenceLost: 39}


# Several processes.

_TAKE = """
import json, sys
from webapi.storage.challenges import SqlChallengeStore
from webapi.storage.engine import make_engine
from webapi.storage.realm import Realm

engine = make_engine(sys.argv[1], Realm.LOGIN)
store = SqlChallengeStore(engine)
engine.connect().close()
sys.stdin.readline()
won = [number for number in range(200) if store.take(f"{number:032x}") is not None]
print(json.dumps(won))
"""


def test_processes_take_each_challenge_once(database: Database) -> None:
    engine = database.engine(Realm.LOGIN)
    store = SqlChallengeStore(engine)
    for number in range(200):
        store.issue(IssuedChallenge(f"{number:032x}", f"{number:0128d}", ORIGIN, bytes(32), LATER))
    url = engine.url.render_as_string(hide_password=False)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _TAKE, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    won = [number for process in processes for number in json.loads(process.communicate()[0])]
    assert sorted(won) == list(range(200))


# Registering, sequencing and closing side by side, which only PostgreSQL allows.


@pytest.fixture
def wide(tmp_path: Path, postgresql_database: PostgresDatabase) -> ReceiptDisk:
    return ReceiptDisk(tmp_path, database=postgresql_database).create()


def insert_slowly(engine: Engine, number: int, finish: threading.Event) -> Future[None]:
    """A registration that was found lawful and stored, and is not committed before `finish`."""
    stored = threading.Event()
    new = registration(number)

    def act() -> None:
        with engine.begin() as connection:
            row = election_row(connection, ELECTION, lock=Lock.REGISTRATION)
            assert row.close_request is None
            connection.execute(
                insert(registrations).values(
                    election_id=ELECTION,
                    submission_id=new.submission_id,
                    ballot_sha256=new.ballot_sha256,
                    commitment=new.commitment,
                    accepted_slot=new.accepted_slot,
                    sealed_salt=new.sealed_salt,
                    evidence=new.evidence,
                )
            )
            stored.set()
            assert finish.wait(SECONDS)

    pool = ThreadPoolExecutor(1)
    running = pool.submit(act)
    pool.shutdown(wait=False)
    assert stored.wait(SECONDS)
    return running


def plan(seen: list[BatchView]) -> Callable[[BatchView], list[NewEntry]]:
    def decide(view: BatchView) -> list[NewEntry]:
        seen.append(view)
        return []

    return decide


def is_waiting(engine: Engine) -> bool:
    query = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with engine.begin() as connection:
        return bool(connection.scalar(query))


def await_waiting(engine: Engine) -> None:
    await_fact(lambda: is_waiting(engine))


def test_the_close_record_waits_for_the_registrations_under_way(wide: ReceiptDisk) -> None:
    finish = threading.Event()
    running = insert_slowly(wide.engine, 1, finish)
    wide.close()  # does not wait for it
    with pytest.raises(ElectionOver):
        wide.registrations.insert(ELECTION, [registration(2)])
    seen: list[BatchView] = []
    with ThreadPoolExecutor(1) as pool:
        assigned = pool.submit(wide.log.assign, ELECTION, after=1, limit=10, plan=plan(seen))
        await_waiting(wide.engine)
        assert not seen
        finish.set()
        assigned.result(SECONDS)
    running.result(SECONDS)
    (view,) = seen
    assert view.closing is not None
    assert [item.submission_id for item in view.pending] == [submission_id(1)]


def test_a_batch_neither_waits_for_registrations_nor_holds_them_up(wide: ReceiptDisk) -> None:
    finish = threading.Event()
    running = insert_slowly(wide.engine, 1, finish)

    def decide(view: BatchView) -> list[NewEntry]:
        assert view.pending == ()
        wide.registrations.insert(ELECTION, [registration(2)])
        return []

    assert wide.log.assign(ELECTION, after=1, limit=10, plan=decide) == 0
    finish.set()
    running.result(SECONDS)
    assert wide.registrations.count_pending(ELECTION) == 2


def test_two_batches_of_one_log_come_one_after_the_other(wide: ReceiptDisk) -> None:
    wide.registrations.insert(ELECTION, [registration(1)])
    entered, leave = threading.Event(), threading.Event()
    seen: list[BatchView] = []

    def first(view: BatchView) -> list[NewEntry]:
        entered.set()
        assert leave.wait(SECONDS)
        return [NewEntry(view.next_seq, b"entry", view.pending[0].submission_id)]

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(wide.log.assign, ELECTION, after=1, limit=10, plan=first)
        assert entered.wait(SECONDS)
        other = pool.submit(wide.log.assign, ELECTION, after=2, limit=10, plan=plan(seen))
        await_waiting(wide.engine)
        leave.set()
        assert one.result(SECONDS) == 1
        assert other.result(SECONDS) == 0
    assert [(view.next_seq, view.pending) for view in seen] == [(2, ())]


def test_a_close_and_many_registrations_leave_no_ballot_behind(wide: ReceiptDisk) -> None:
    store: SqlRegistrationStore = wide.registrations
    log: SqlLogStore = wide.log

    def submit(number: int) -> Callable[[], object]:
        return lambda: store.insert(ELECTION, [registration(number)])

    actions = [submit(number) for number in range(200)]
    actions.insert(100, wide.close)
    found = Counter(outcomes(actions))
    seen: list[BatchView] = []
    log.assign(ELECTION, after=1, limit=1000, plan=plan(seen))
    inserted = {frozenset({item.submission_id}) for item in seen[0].pending}
    # The close may be so slow that none of them came after it; whoever comes now does.
    assert found.keys() - {ElectionOver} == {None} | inserted
    assert outcomes([submit(200)]) == [ElectionOver]
    assert len(inserted) >= 100 - THREADS
    assert found[ElectionOver] == 200 - len(inserted)
