"""A record judged again: the path and the answer, the card's signature, and what is stated beside.

Part of the wiring, like `webapi.decision_record`, which reads the file.
"""

from dataclasses import dataclass

from cryptography import x509

from ocsp.checks import Check
from ocsp.errors import TrustError
from ocsp.replay import Outcome, Replay, replay
from ocsp.status import AnsweredStatus
from signer.errors import LoginRefused
from signer.login.token import verify_card_signature
from webapi.decision_record import DecisionRecord
from webapi.login.sessions import LoginEvidence


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an auditor is told.

    Attributes:
        outcomes: each check's name and outcome, in the order in which they are made.
        not_made: why the record's rules leave a check out, by its name; unverified text.
        refusals: why the decision is not confirmed; empty if it is.
    """

    outcomes: tuple[tuple[str, Outcome], ...]
    not_made: dict[str, str]
    refusals: tuple[str, ...]

    @property
    def confirmed(self) -> bool:
        """The decision is the one that would be made again."""
        return not self.refusals


def judge_record(record: DecisionRecord, roots: tuple[bytes, ...]) -> Verdict:
    """Make the decision again at its own time.

    Args:
        record: as read; nobody vouches for it.
        roots: DER of the roots that the auditor trusts.
    """
    again = replay(record.decision, roots)
    refusals = [] if again.refusal is None else [_told(again.refusal)]
    outcomes = [(_name(check), outcome) for check, outcome in again.outcomes.items()]
    possession = _possession(record.evidence)
    outcomes.append(("card signature", Outcome.FAILED if possession else Outcome.PASSED))
    if possession:
        refusals.append(possession)
    if again.refusal is None:
        differing = _stated_otherwise(record.evidence, again)
        outcomes.append(("stated facts", Outcome.FAILED if differing else Outcome.PASSED))
        refusals += [f"the record states another {name}" for name in differing]
    not_made = {_name(check): reason for check, reason in again.not_made.items()}
    return Verdict(tuple(outcomes), not_made, tuple(refusals))


def _name(check: Check) -> str:
    return f"{check.value} {check.name.lower().replace('_', ' ')}"


def _told(refusal: Exception) -> str:
    return f"{type(refusal).__name__}: {refusal}"


def _possession(evidence: LoginEvidence) -> str | None:
    """Why the card's signature proves nothing; None if it does."""
    try:
        verify_card_signature(
            x509.load_der_x509_certificate(evidence.certificates[0]),
            evidence.algorithm,
            evidence.signature,
            origin=evidence.origin,
            nonce=evidence.nonce,
        )
    except LoginRefused as refusal:
        return _told(refusal)
    return None


def _stated_otherwise(evidence: LoginEvidence, again: Replay) -> list[str]:
    """Which of the facts that the record states beside the evidence are others."""
    if again.chain is None or again.status is None:
        raise ValueError("a decision that was confirmed has a chain and a status")
    try:
        person = again.chain.person
    except TrustError:
        person = ""
    stated = (evidence.subject, *_facts_of(evidence))
    found = (person, *_facts_of_status(again.status))
    names = ("subject", "responder", "time of the status", "nonce")
    return [name for name, one, other in zip(names, stated, found, strict=True) if one != other]


def _facts_of(evidence: LoginEvidence) -> tuple[object, ...]:
    return (evidence.responder, evidence.this_update, evidence.ocsp_nonce_matched)


def _facts_of_status(status: AnsweredStatus) -> tuple[object, ...]:
    found = status.evidence
    return (found.responder_name, found.this_update, found.nonce_matched)
