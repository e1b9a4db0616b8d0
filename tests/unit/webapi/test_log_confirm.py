"""`tamga log hold` and `confirm`: a log goes on at a person's word, and never against proof."""

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from signer.receipts.checkpoint import Checkpoint
from signer.receipts.merkle import Frontier, leaf_hash
from signer.receipts.publication import Published
from tests.support.databases import Database
from tests.support.election_site import Site
from tests.support.receipt_disk import ReceiptDisk
from tests.support.receipts import ELECTION, NOW, PURPOSES, TrialElection, sign_note
from webapi.cli.logs import LogArchive, log
from webapi.storage.log_holds import HoldFinal, HoldReason, LogNotHeld, SqlLogHolds

TRIAL = TrialElection()
NOBODY = "--nobody-holds-a-newer-one"


class Desk:
    """A log of four entries on hold, and the files that people bring."""

    def __init__(self, folder: Path, database: Database) -> None:
        self.disk = ReceiptDisk(folder, TRIAL, database).create()
        self.holds = SqlLogHolds(self.disk.engine)
        self.folder = folder
        sequencer = self.disk.sequencer()
        sequencer.run_once(at=NOW)
        for number in (1, 2, 3):
            self.disk.register(number)
        sequencer.run_once(at=NOW)
        self.holds.place(ELECTION, reason=HoldReason.RESTORED, slot=2_985_000)

    def run(self, *arguments: str) -> Result:
        archive = LogArchive(self.disk.elections, self.disk.log, self.holds, self.folder / "logs")
        return CliRunner().invoke(log, arguments, obj=lambda: archive)

    def confirm(self, *shown: bytes) -> Result:
        arguments = []
        for number, data in enumerate(shown):
            path = self.folder / f"shown-{number}"
            path.write_bytes(data)
            arguments += ["--newest", str(path)]
        return self.run("confirm", ELECTION, *arguments)

    def note(self, size: int, *, root: bytes | None = None, origin: str | None = None) -> bytes:
        """A checkpoint that the log's own keys sign now."""
        name = origin or self.disk.manifest.origin
        text = Checkpoint(name, size, root or bytes(32)).text()
        return sign_note(text, name, [TRIAL.signer.keys[purpose] for purpose in PURPOSES])

    @property
    def is_held(self) -> bool:
        return ELECTION in self.holds.held()


@pytest.fixture
def desk(tmp_path: Path, database: Database) -> Desk:
    return Desk(tmp_path, database)


def receipt_of(desk: Desk) -> bytes:
    receipt = desk.disk.receipt(2)
    assert receipt is not None
    return receipt


def test_something_is_shown_or_it_is_said_that_nobody_has_anything(desk: Desk) -> None:
    for arguments in ((), (NOBODY, "--newest", __file__)):
        assert desk.run("confirm", ELECTION, *arguments).exit_code == 2
    assert desk.is_held


@pytest.mark.parametrize("what", ["text", "other keys", "other origin", "broken", "too long"])
def test_what_proves_nothing_changes_nothing(desk: Desk, what: str) -> None:
    other = TrialElection()
    name = desk.disk.manifest.origin
    text = Checkpoint(name, 9, bytes(32)).text()
    shown = {
        "text": b"a checkpoint of size 9",
        "other keys": sign_note(text, name, [other.signer.keys[purpose] for purpose in PURPOSES]),
        "other origin": desk.note(9, origin="elsewhere.example/x"),
        "broken": desk.note(9).replace(b"\n9\n", b"\n8\n"),
        "too long": b"a" * 2**20,
    }[what]
    done = desk.confirm(receipt_of(desk), shown)
    assert done.exit_code == 1, done.output
    assert ("proves nothing" in done.output) or ("longer than any" in done.output)
    (hold,) = desk.holds.find(ELECTION)
    assert hold.contradiction is None


@pytest.mark.parametrize("size", [2, 4, 5, 2**40])
def test_a_newer_or_other_tree_keeps_the_log_on_hold_for_ever(desk: Desk, size: int) -> None:
    proof = desk.note(size)
    done = desk.confirm(receipt_of(desk), proof)
    assert done.exit_code == 1
    expected = "LogForked" if size <= 4 else "DatabaseBehind"
    assert f"proves it: {expected}" in done.output
    (hold,) = desk.holds.find(ELECTION)
    assert hold.contradiction == proof

    # Nothing that is shown or said later undoes it.
    for again in (desk.confirm(receipt_of(desk)), desk.run("confirm", ELECTION, NOBODY)):
        assert again.exit_code == 1
        assert isinstance(again.exception, HoldFinal | SystemExit)
    assert desk.is_held
    told = desk.run("verify", ELECTION)
    assert told.exit_code == 1
    assert "RestoredFromBackup: on hold (restored)" in told.output
    assert "for ever" in told.output


def test_one_key_alone_is_proof_enough(desk: Desk) -> None:
    name = desk.disk.manifest.origin
    text = Checkpoint(name, 9, bytes(32)).text()
    done = desk.confirm(sign_note(text, name, [TRIAL.signer.keys[PURPOSES[1]]]))
    assert "DatabaseBehind" in done.output


def test_the_folders_own_checkpoint_is_always_asked(desk: Desk) -> None:
    desk.disk.files.write_checkpoint(desk.note(7), slot=1)
    done = desk.run("confirm", ELECTION, NOBODY)
    assert done.exit_code == 1
    assert "the log's own folder proves it: DatabaseBehind" in done.output
    assert desk.is_held


def test_what_agrees_releases_the_log(desk: Desk) -> None:
    checkpoint = desk.disk.log.checkpoint(ELECTION, 4)
    assert checkpoint is not None
    entries = desk.disk.log.entries(ELECTION, 0, 2)
    assert len(entries) == 2
    empty = desk.note(0, root=Frontier.empty().root)
    done = desk.confirm(receipt_of(desk), checkpoint.note, empty)
    assert done.exit_code == 0, done.output
    assert "released on your word (shown up to size 4)" in done.output
    assert not desk.is_held
    assert desk.run("verify", ELECTION).exit_code == 0
    again = desk.confirm(receipt_of(desk))
    assert isinstance(again.exception, LogNotHeld)


def published(desk: Desk) -> Published:
    return desk.disk.log.log_state(ELECTION).published


def test_the_public_sees_no_less_than_what_somebody_shows(desk: Desk) -> None:
    before = Published(1, int(NOW.timestamp()))
    desk.disk.log.publish(ELECTION, before)
    assert desk.confirm(receipt_of(desk)).exit_code == 0
    assert published(desk) == before  # a receipt's checkpoint is its holder's alone
    # So is the folder's own, which is ahead of the public one.
    assert desk.disk.files.read_checkpoint() is not None
    checkpoint = desk.disk.log.checkpoint(ELECTION, 4)
    genesis = desk.disk.log.checkpoint(ELECTION, 1)
    assert checkpoint is not None
    assert genesis is not None
    for shown, size in (((genesis.note,), 1), ((genesis.note, checkpoint.note), 4)):
        desk.holds.place(ELECTION, reason=HoldReason.ORDERED, slot=2_985_000)
        assert desk.confirm(*shown).exit_code == 0
        assert published(desk) == Published(size, before.epoch)
    # It never goes back.
    desk.holds.place(ELECTION, reason=HoldReason.ORDERED, slot=2_985_000)
    assert desk.confirm(genesis.note).exit_code == 0
    assert published(desk).size == 4


def test_a_checkpoint_that_was_never_committed_makes_the_next_larger_one_public(
    desk: Desk,
) -> None:
    entries = desk.disk.log.entries(ELECTION, 0, 2)
    root = Frontier.empty().extended(leaf_hash(entry) for entry in entries).root
    assert desk.confirm(desk.note(2, root=root)).exit_code == 0
    assert published(desk).size == 4


def test_a_refusal_publishes_nothing(desk: Desk) -> None:
    checkpoint = desk.disk.log.checkpoint(ELECTION, 4)
    assert checkpoint is not None
    assert desk.confirm(checkpoint.note, desk.note(5)).exit_code == 1
    assert published(desk).size == 0


def test_a_word_alone_releases_it_too_and_is_kept_as_one(desk: Desk) -> None:
    done = desk.run("confirm", ELECTION, NOBODY)
    assert done.exit_code == 0
    assert "on your word (nobody holds a newer one)" in done.output


def test_a_hold_can_be_ordered(desk: Desk) -> None:
    assert desk.run("confirm", ELECTION, NOBODY).exit_code == 0
    assert desk.run("hold", "no-such-election").exit_code == 1
    done = desk.run("hold", ELECTION)
    assert done.exit_code == 0
    (hold,) = desk.holds.find(ELECTION)
    assert hold.reason is HoldReason.ORDERED
    assert "RestoredFromBackup: on hold (ordered)" in desk.run("verify", ELECTION).output


def test_the_worker_lets_go_of_a_log_on_hold_and_takes_it_up_again(tmp_path: Path) -> None:
    site = Site(tmp_path)
    site.disk.create()
    site.work()
    site.register(1)
    site.work()
    holds = SqlLogHolds(site.disk.engine)
    holds.place(ELECTION, reason=HoldReason.ORDERED, slot=1)
    site.register(2)
    for _ in range(2):
        site.work()
        assert site.logs.halted == {ELECTION: "RestoredFromBackup"}
        assert site.logs.count_states()["halted"] == 1
        assert site.fetch(2).status_code == 202
    with site.disk.files.locked():
        assert site.fetch(1).status_code == 200
    holds.release(ELECTION, statement="compared", slot=1)
    site.work()
    assert site.logs.halted == {}
    assert site.fetch(2).status_code == 200


@pytest.mark.parametrize("size", [4, 9])
def test_a_proof_puts_a_log_on_hold_that_is_on_none(desk: Desk, size: int) -> None:
    desk.holds.release(ELECTION, statement="compared", slot=1)
    proof = desk.note(size)
    done = desk.confirm(proof)
    assert done.exit_code == 1
    assert "proves it" in done.output
    (hold,) = desk.holds.find(ELECTION)
    assert (hold.reason, hold.contradiction) == (HoldReason.CONTRADICTED, proof)
    with pytest.raises(HoldFinal):
        desk.holds.release(ELECTION, statement="nobody", slot=1)
