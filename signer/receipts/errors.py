"""Every way in which a receipt, a registration or a log can be refused, a class for each fact."""

from signer.errors import SignerError


class ReceiptsError(SignerError):
    """Root of this package's errors."""


# Bytes that are not of their format.


class FormatRefused(ReceiptsError):
    """Bytes are not of the form that their format prescribes."""


class CborNotDeterministic(FormatRefused):
    """The bytes are not the one deterministic encoding of an array that this project uses."""


class LeafMalformed(FormatRefused):
    """The bytes are not a log entry of this project."""


class KeyMalformed(FormatRefused):
    """The text is not a verifier key (vkey) of a supported type, or its key id is wrong."""


class NoteMalformed(FormatRefused):
    """The bytes are not a signed note."""


class CheckpointMalformed(FormatRefused):
    """The note's text is not a checkpoint."""


class TileMalformed(FormatRefused):
    """A tile's path or content is not of the form that tlog-tiles prescribes."""


class PolicyMalformed(FormatRefused):
    """The bytes are not a trust policy."""


class ReceiptMalformed(FormatRefused):
    """The bytes are not a receipt (tlog-proof with this project's extra line)."""


class ManifestMalformed(FormatRefused):
    """The bytes are not an election manifest in its one canonical form."""


# Proofs and signatures that do not hold.


class HashMalformed(ReceiptsError):
    """A hash is not exactly 32 bytes long."""


class InclusionInvalid(ReceiptsError):
    """The path does not lead from the leaf to the root."""


class ConsistencyInvalid(ReceiptsError):
    """The larger tree is not shown to be an extension of the smaller one."""


class NoteSignatureInvalid(ReceiptsError):
    """A known key's signature on the note does not verify."""


class NoteUnsigned(ReceiptsError):
    """None of the known keys signed the note."""


# A receipt that does not verify.


class ReceiptRefused(ReceiptsError):
    """Root of the reasons for which a well-formed receipt is refused."""


class LogNotTrusted(ReceiptRefused):
    """The policy does not name the receipt's log alone, or pins no ECDSA P-256 key for it."""


class LogSignatureInvalid(ReceiptRefused):
    """A signature by one of the log's pinned keys does not verify."""


class LogSignatureMissing(ReceiptRefused):
    """The checkpoint lacks a signature of a type that the policy pins for its log."""


class WitnessesNotChecked(ReceiptRefused):
    """The policy demands witness cosignatures, which this version cannot check."""


class LeafNotBallot(ReceiptRefused):
    """The receipt's entry is a genesis or close record, not a ballot's."""


class IndexMismatch(ReceiptRefused):
    """The entry states another position than the receipt."""


class ElectionMismatch(ReceiptRefused):
    """The entry is of another election than the log."""


class EntryNotInLog(ReceiptRefused):
    """The entry is not in the tree that the checkpoint fixes."""


class BallotMismatch(ReceiptRefused):
    """The entry commits to another ballot."""


# Requests of the election system.


class RequestRefused(ReceiptsError):
    """Root of the reasons for which an election system's request is refused."""


class RequestMalformed(RequestRefused):
    """The request is not a compact JWS of the prescribed type and members."""


class RequestSignatureInvalid(RequestRefused):
    """The request is not signed by the election system's key."""


class RequestMisdirected(RequestRefused):
    """The request is for another service, election or submission."""


class RequestTimeWrong(RequestRefused):
    """The request's time is in the future, its life too long, or it is more exact than allowed."""


class RequestExpired(RequestRefused):
    """The request's time is over."""


class VotersExceedBallots(RequestRefused):
    """The order to close states more voters than there are ballots."""


class ElectionNotFound(ReceiptsError):
    """There is no such election."""


class ElectionExists(ReceiptsError):
    """An election of this id or origin exists."""


class ElectionNotYetOpen(ReceiptsError):
    """The election's window for ballots has not begun."""


class ElectionOver(ReceiptsError):
    """The election is closed, or its window for ballots is over."""


class SubmissionNotFound(ReceiptsError):
    """No ballot was registered under this id."""


class SubmissionConflict(ReceiptsError):
    """Another ballot is registered under this id."""


class SubmissionVanished(ReceiptsError):
    """The store refused an id as taken, and then did not find it: nothing is known of it."""


class CloseConflict(ReceiptsError):
    """The election was closed by a request that said something else."""


class SaltErased(ReceiptsError):
    """The election's salts were erased; the receipt exists with its holder alone."""


class SaltDamaged(ReceiptsError):
    """A stored salt does not open under the election's key."""


# Reasons for a log to stop until a person has looked.


class SequencerHalted(ReceiptsError):
    """Root of the reasons for which a sequencer signs nothing more."""


class SequencerRunning(SequencerHalted):
    """Another process runs this log's sequencer."""


class FenceLost(SequencerHalted):
    """Another sequencer has taken this log over."""


class DatabaseBehind(SequencerHalted):
    """The database knows less than was written or signed: a restored backup, perhaps."""


class RestoredFromBackup(SequencerHalted):
    """The log is on hold: its database was put back, and no person has compared it yet."""


class CheckpointFileMissing(SequencerHalted):
    """The log has released receipts, and its folder does not hold a checkpoint."""


class CheckpointFileMalformed(SequencerHalted):
    """The folder's checkpoint is not one, so it does not tell how far the log had grown."""


class LogForked(SequencerHalted):
    """Two records of the same log and size differ."""


class TilesDamaged(SequencerHalted):
    """What was read back from the disk is not what was written."""


class KeysChanged(SequencerHalted):
    """The signer's keys are not the ones that the election's manifest pins."""


# What a person shows of a log that is on hold.


class EvidenceInvalid(ReceiptsError):
    """What is shown is neither a checkpoint nor a receipt that a pinned key of this log signed."""
