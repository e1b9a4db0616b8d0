"""/elections and /log: HTTP in, service, HTTP out."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import assert_never

from flask import Blueprint, Response, jsonify, request, url_for
from pydantic import BaseModel

from signer.receipts.acceptance import Refusal
from signer.receipts.errors import (
    ElectionNotYetOpen,
    ElectionOver,
    SubmissionConflict,
    SubmissionVanished,
)
from signer.receipts.jws import MAX_JWS_BYTES
from signer.receipts.registration import MAX_BATCH_JWS_BYTES
from webapi.elections.errors import BearerMissing
from webapi.elections.registrar import ReadyReceipt
from webapi.elections.schemas import (
    BatchAnswer,
    ClosedAnswer,
    ClosingAnswer,
    ElectionDetails,
    ElectionList,
    ElectionSummary,
    PendingAnswer,
    RefusedBallot,
    RegisteredAnswer,
)
from webapi.elections.service import ElectionsService, ElectionView
from webapi.operations.openapi import operation
from webapi.strict_json import read_body

JOSE = "application/jose"
"""The media type of a compact JWS (RFC 7515, section 9.2.1)."""

RETRY_AFTER_SECONDS = 1
CHECKPOINT_CACHE = "public, max-age=5"
TILE_CACHE = "public, max-age=31536000, immutable"
TEXT = "text/plain; charset=utf-8"
_TIME = "%Y-%m-%dT%H:%M:%SZ"
_BEARER = "bearer"


def elections_blueprint(service: ElectionsService, clock: Callable[[], datetime]) -> Blueprint:
    """The routes of elections, their receipts and their logs.

    Args:
        service: ready-made.
        clock: gives aware UTC.
    """
    blueprint = Blueprint("elections", __name__)
    _add_requests(blueprint, service, clock)
    _add_public(blueprint, service)
    _add_log(blueprint, service)
    return blueprint


def _add_requests(
    blueprint: Blueprint, service: ElectionsService, clock: Callable[[], datetime]
) -> None:
    @blueprint.post("/elections/<election_id>/ballots")
    @operation("Register a sealed ballot", body_type=JOSE, answer=RegisteredAnswer)
    def register(election_id: str) -> Response:
        body = read_body(request, JOSE, MAX_JWS_BYTES)
        submission_id, ready = service.register(election_id, body, at=clock())
        return _receipt_answer(election_id, submission_id, ready)

    @blueprint.post("/elections/<election_id>/ballots:batch")
    @operation("Register many sealed ballots", body_type=JOSE, answer=BatchAnswer)
    def register_batch(election_id: str) -> Response:
        body = read_body(request, JOSE, MAX_BATCH_JWS_BYTES)
        return _batch_answer(service.register_batch(election_id, body, at=clock()))

    @blueprint.get("/elections/<election_id>/receipts/<submission_id>")
    @operation("Fetch the receipt of a submission", answer=RegisteredAnswer)
    def receipt(election_id: str, submission_id: str) -> Response:
        token = _bearer_token()
        ready = service.fetch(election_id, submission_id, token, at=clock())
        return _receipt_answer(election_id, submission_id, ready)

    @blueprint.post("/elections/<election_id>/close")
    @operation("Close an election", body_type=JOSE, answer=ClosedAnswer)
    def close(election_id: str) -> Response:
        body = read_body(request, JOSE, MAX_JWS_BYTES)
        closing = service.close(election_id, body, at=clock())
        if closing is None:
            return _not_yet(ClosingAnswer(), url_for(".election", election_id=election_id))
        return _answer(ClosedAnswer(size=closing.size, checkpoint=closing.note.decode()))


def _add_public(blueprint: Blueprint, service: ElectionsService) -> None:
    @blueprint.get("/elections")
    @operation("List the elections", answer=ElectionList)
    def elections() -> Response:
        summaries = [_summary(view) for view in service.list_public()]
        return _answer(ElectionList(elections=summaries))

    @blueprint.get("/elections/<election_id>")
    @operation("Show an election and its manifest", answer=ElectionDetails)
    def election(election_id: str) -> Response:
        view = service.view(election_id)
        details = ElectionDetails(
            **_summary(view).model_dump(),
            published_size=service.published_size(election_id),
            manifest=view.stored.manifest.decode(),
            manifest_sha256=view.manifest.sha256.hex(),
            policy_sha256=view.manifest.policy_sha256.hex(),
        )
        return _answer(details)


def _add_log(blueprint: Blueprint, service: ElectionsService) -> None:
    # tlog-tiles, "Checkpoints" and "Merkle tree"; no answer has a date, which could tell the
    # second in which a ballot came.
    @blueprint.get("/log/<election_id>/checkpoint")
    @operation("The published checkpoint")
    def checkpoint(election_id: str) -> Response:
        note = service.published_checkpoint(election_id)
        return _bytes_answer(note, TEXT, CHECKPOINT_CACHE)

    @blueprint.get("/log/<election_id>/tile/<path:path>")
    @operation("A tile or entry bundle of the published log")
    def tile(election_id: str, path: str) -> Response:
        data = service.published_tile(election_id, path)
        return _bytes_answer(data, "application/octet-stream", TILE_CACHE)

    @blueprint.get("/log/<election_id>/policy")
    @operation("The log's trust policy file")
    def policy(election_id: str) -> Response:
        return _bytes_answer(service.policy(election_id), TEXT, CHECKPOINT_CACHE)


def _bearer_token() -> bytes:
    """The token of the Authorization header (RFC 6750, section 2.1).

    The scheme's name is case-insensitive, and spaces follow it (RFC 9110, sections 11.1 and 11.4).
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != _BEARER or not token.strip(" "):
        raise BearerMissing("no bearer token")
    return token.strip(" ").encode("utf-8", "surrogateescape")


def _receipt_answer(election_id: str, submission_id: str, ready: ReadyReceipt | None) -> Response:
    if ready is None:
        location = url_for(".receipt", election_id=election_id, submission_id=submission_id)
        return _not_yet(PendingAnswer(submission_id=submission_id), location)
    return _answer(_registered(submission_id, ready))


def _registered(submission_id: str, ready: ReadyReceipt) -> RegisteredAnswer:
    return RegisteredAnswer(
        submission_id=submission_id, index=ready.index, receipt=ready.receipt.decode()
    )


def _batch_answer(outcomes: Sequence[tuple[str, ReadyReceipt | Refusal | None]]) -> Response:
    answer = BatchAnswer(ballots=[_ballot_answer(*outcome) for outcome in outcomes])
    if any(ready is None or isinstance(ready, SubmissionVanished) for _, ready in outcomes):
        return _to_be_repeated(answer)
    return _answer(answer)


def _ballot_answer(
    submission_id: str, outcome: ReadyReceipt | Refusal | None
) -> RegisteredAnswer | PendingAnswer | RefusedBallot:
    match outcome:
        case None:
            return PendingAnswer(submission_id=submission_id)
        case ReadyReceipt():
            return _registered(submission_id, outcome)
        case SubmissionConflict():
            return RefusedBallot(status="conflict", submission_id=submission_id)
        case ElectionOver():
            return RefusedBallot(status="over", submission_id=submission_id)
        case ElectionNotYetOpen():
            return RefusedBallot(status="not_yet_open", submission_id=submission_id)
        case SubmissionVanished():
            return RefusedBallot(status="failed", submission_id=submission_id)
        case _:
            assert_never(outcome)


def _summary(view: ElectionView) -> ElectionSummary:
    manifest = view.manifest
    return ElectionSummary(
        election_id=manifest.election_id,
        title=manifest.title,
        origin=manifest.origin,
        opens_at=manifest.opens_at.strftime(_TIME),
        closes_at=manifest.closes_at.strftime(_TIME),
        closed=view.stored.is_closed_in_public,
    )


def _answer(answer: BaseModel, status: int = 200) -> Response:
    response = jsonify(answer.model_dump())
    response.status_code = status
    response.headers["Cache-Control"] = "no-store"
    return response


def _not_yet(answer: BaseModel, location: str) -> Response:
    response = _to_be_repeated(answer)
    response.headers["Location"] = location
    return response


def _to_be_repeated(answer: BaseModel) -> Response:
    response = _answer(answer, 202)
    response.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return response


def _bytes_answer(data: bytes, content_type: str, cache: str) -> Response:
    response = Response(data, content_type=content_type)
    response.headers["Cache-Control"] = cache
    return response
