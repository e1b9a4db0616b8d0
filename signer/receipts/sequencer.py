"""One log's sequencer: from pending ballots to released receipts, in a durable order.

The order of `Sequencer.run_once`, where each step is durable before the next begins:

1. Places and final entry bytes are fixed in one transaction (shuffled), which finds that
   nobody else gave any since the log was looked at. No more are given before these are signed,
   so that a batch that is tried again has the same size. All that follows is a pure function
   of them, so a restart never shuffles again.
2. to 8. As in every log, see `signer.receipts.growth`: tiles, read back, intent and permits,
   fence and signatures, verification, commit, checkpoint file.
9. The inclusion paths, each verified, are stored and the receipts released. Here, too,
   damaged tiles are made anew once; what is damaged still halts the log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from signer.payload import checkpoint_payload
from signer.receipts.acceptance import slot_of
from signer.receipts.batch import BatchView, NewEntry, Shuffle, plan_batch
from signer.receipts.election import Manifest
from signer.receipts.growth import GrowingLog, LogIdentity, Step
from signer.receipts.log_store import LogStore, SignedCheckpoint
from signer.receipts.policy import LogKeys
from signer.receipts.publication import Released, epoch_of, judge_publication

BATCH_LIMIT = 4096


@dataclass(frozen=True, slots=True)
class Sequenced:
    """A batch whose receipts are released.

    Attributes:
        size: the new checkpoint's size.
        entries: how many entries it added.
    """

    size: int
    entries: int


def ballot_log_of(manifest: Manifest) -> LogIdentity:
    """The log of an election."""
    keys = LogKeys(manifest.origin, manifest.log_keys)
    return LogIdentity(manifest.election_id, keys, checkpoint_payload)


class Sequencer:
    """Grows one log. Made by `open_sequencer`, which compares the records first."""

    def __init__(
        self, manifest: Manifest, *, store: LogStore, growing: GrowingLog, shuffle: Shuffle
    ) -> None:
        self.election_id = manifest.election_id
        self._manifest_sha256 = manifest.sha256
        self._store = store
        self._growing = growing
        self._shuffle = shuffle

    def run_once(self, *, at: datetime) -> Sequenced | None:
        """Sequence what is pending.

        Returns:
            None where there was nothing to do.

        Raises:
            SequencerHalted: a subclass; this sequencer must not go on.
            SignerError: the keys could not sign; the same batch is tried again next time.
        """
        slot = slot_of(at)
        state = self._store.log_state(self.election_id)
        self._growing.require_ours(state)
        if state.signed is not None and not state.signed.released:
            self._release(state.signed, slot=slot)
        old_size, new_size = state.signed_size, state.entries
        if new_size == old_size:  # (1), unless a batch with places waits for its signature
            new_size += self._assign(old_size)
            if new_size == old_size:
                return None
            self._growing.reached(Step.ASSIGNED)
        signed = self._growing.grow(new_size, slot=slot)
        self._release(signed, slot=slot)
        return Sequenced(new_size, new_size - old_size)

    def publish_due(self, *, at: datetime, epoch: timedelta, least: int) -> int | None:
        """Let the public see more of the log, if its epoch has come.

        Call it before `run_once`: an epoch is judged by what was signed before it began, and
        the judgement is durable before anything is signed in it. Call it once more behind
        `run_once` for the genesis and the close record, which do not wait.

        Args:
            at: now, as `run_once` is told.
            epoch: how often the public checkpoint may advance.
            least: fewest entries by which it advances.

        Returns:
            The published size, None where it stayed.
        """
        state = self._store.log_state(self.election_id)
        judged = judge_publication(
            Released(state.released_size, state.is_closed),
            state.published,
            epoch=epoch_of(at, epoch),
            least=least,
        )
        if judged is None:
            return None
        self._store.publish(self.election_id, judged)
        return judged.size if judged.size > state.published.size else None

    def _assign(self, after: int) -> int:
        def plan(view: BatchView) -> Sequence[NewEntry]:
            return plan_batch(
                view,
                election_id=self.election_id,
                manifest_sha256=self._manifest_sha256,
                shuffle=self._shuffle,
            )

        return self._store.assign(self.election_id, after=after, limit=BATCH_LIMIT, plan=plan)

    def _release(self, signed: SignedCheckpoint, *, slot: int) -> None:
        self._growing.write_checkpoint(signed, slot=slot)
        # (9)
        paths = self._growing.mending(
            lambda: self._growing.tree.paths(signed.previous_size, signed.size, signed.root),
            signed.size,
            slot=slot,
        )
        self._store.release(self.election_id, size=signed.size, paths=paths)
        self._growing.reached(Step.RELEASED)
