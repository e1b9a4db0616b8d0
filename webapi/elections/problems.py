"""What a client is told for each reason for which an election request is refused."""

from signer.receipts import errors
from webapi.elections.errors import BearerMissing, LogOnHold, NotPublished
from webapi.problems import Problem, ProblemTable

PROBLEMS: ProblemTable = {
    errors.RequestMalformed: Problem(
        400,
        "request_malformed",
        "The request is not a compact JWS of the type and members that this address takes.",
        "Compare the header and the claims with docs/receipt-format.md.",
    ),
    errors.RequestTimeWrong: Problem(
        400,
        "request_time_wrong",
        "The request's iat or exp is not one that is taken.",
        "Set the clock; round iat of a registration down to 600 seconds.",
    ),
    errors.RequestExpired: Problem(
        401, "request_expired", "The request's time is over.", "Sign a new one."
    ),
    errors.RequestSignatureInvalid: Problem(
        401,
        "request_signature_invalid",
        "The request is not signed by the election system's key.",
        "Sign it with the key that the election's manifest names.",
    ),
    BearerMissing: Problem(
        401,
        "bearer_missing",
        "The request carries no bearer token.",
        "Send Authorization: Bearer with a token signed by the election system.",
    ),
    errors.RequestMisdirected: Problem(
        403,
        "request_misdirected",
        "The request is for another service, election or submission.",
        "Check aud, election_id and submission_id.",
    ),
    errors.ElectionNotYetOpen: Problem(
        403,
        "election_not_yet_open",
        "The election's window for ballots has not begun.",
        "Wait for the opening that the manifest states.",
    ),
    errors.ElectionNotFound: Problem(
        404, "election_not_found", "There is no such election.", "GET /elections lists them."
    ),
    errors.SubmissionNotFound: Problem(
        404,
        "submission_not_found",
        "No ballot was registered under this id.",
        "Register the ballot first.",
    ),
    NotPublished: Problem(
        404,
        "not_published",
        "This part of the log is not public, or not yet.",
        "Ask for what the published checkpoint covers.",
    ),
    errors.SubmissionConflict: Problem(
        409,
        "submission_conflict",
        "Another ballot is registered under this id.",
        "Draw a new submission id for another ballot.",
    ),
    errors.VotersExceedBallots: Problem(
        409,
        "voters_exceed_ballots",
        "The order to close states more voters than there are ballots.",
        "Compare no_vote_size with the number of registered ballots.",
    ),
    errors.CloseConflict: Problem(
        409,
        "close_conflict",
        "The election was ordered to close with other figures.",
        "Compare no_vote_root and no_vote_size with the first order.",
    ),
    errors.ElectionOver: Problem(
        410,
        "election_over",
        "The election takes no new ballots any more.",
        "A ballot that was registered in time still gets its receipt: repeat its request.",
    ),
    errors.SaltErased: Problem(
        410,
        "receipt_erased",
        "The election's salts were erased, so the receipt cannot be made again.",
        "Use the receipt that was handed out.",
    ),
    LogOnHold: Problem(
        503,
        "log_on_hold",
        "The log is on hold until its operator has compared its database with what others hold.",
        "Keep the newest checkpoint and the receipts that you have, show them to the operator, "
        "and ask again later.",
        retry_after_seconds=60,
    ),
}
"""Rows for `webapi.problems`; damage (SaltDamaged, SaltKeyUnsafe) is an internal error."""
