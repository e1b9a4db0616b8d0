"""The record of a login's decision as a file: what an auditor needs to make it again.

Part of the wiring: it joins what is stored to `ocsp.replay`. A record vouches for nothing by
itself; what it says is either signed by the card or the CA, or compared with what is.
"""

import base64
import json
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Annotated, Any, Literal

from cryptography import x509
from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from ocsp.config import (
    IssuerProfile,
)
from ocsp.errors import TrustError
from ocsp.persons import PersonRegister
from ocsp.replay import UnverifiedDecision
from webapi.login.sessions import LoginEvidence

FORMAT = "tamga/login-decision/1"
MAX_RECORD_BYTES = 64 * 2**20
"""Larger files are refused unread; a revocation list may have megabytes."""

_RULES = TypeAdapter(
    tuple[IssuerProfile],  # in a tuple, because a dataclass by itself would have its own settings
    config=ConfigDict(
        ser_json_bytes="base64", val_json_bytes="base64", ser_json_timedelta="float", extra="forbid"
    ),
)


_BEFORE_AUTHORITY_STATUS = {"authority_status": {"reason": "decided before the rules said it"}}
"""For the rules of older records: their decisions kept no lists of the CAs above the issuer."""

_UNREADABLE = (ValidationError, ValueError, IndexError, RecursionError, OverflowError, OSError)
"""What a hostile file raises in the libraries."""


class RecordUnreadable(Exception):
    """A file is no record of a decision, or was changed after it was written."""


def _decode(value: object) -> bytes:
    if not isinstance(value, str):
        raise ValueError("is no base64 text")  # noqa: TRY004 -- what pydantic expects of a validator
    return base64.b64decode(value, validate=True)


_Bytes = Annotated[bytes, BeforeValidator(_decode)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, hide_input_in_errors=True)


class _Possession(_Part):
    origin: str
    nonce: str
    algorithm: str
    signature: _Bytes


class _Status(_Part):
    source: Literal["ocsp", "crl"]
    responder_url: str
    responder: str
    this_update: int
    nonce_matched: bool
    from_cache: bool
    request: _Bytes | None
    response: _Bytes


class _Record(_Part):
    format: Literal["tamga/login-decision/1"]
    evidence_id: str
    decided_at: int
    subject: str
    certificates: tuple[_Bytes, ...]
    possession: _Possession
    status: _Status
    rules: dict[str, Any]
    lists: tuple[_Bytes, ...] = ()
    authority_lists: tuple[_Bytes, ...] = ()
    sha256: dict[str, str]


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """A record that was read: well-formed and whole, which proves nothing about it.

    Attributes:
        decision: what `ocsp.replay` makes again.
        evidence: all of it, as it was stored.
    """

    decision: UnverifiedDecision
    evidence: LoginEvidence


@lru_cache(maxsize=64)
def rules_of(profile: IssuerProfile) -> bytes:
    """The rules of an issuer in JSON, the same bytes for the same rules.

    Of a register of persons nothing is repeated: the record's own subject stands for it.
    """
    if isinstance(profile.person, PersonRegister):
        profile = replace(profile, person=PersonRegister({}, profile.person.pattern))
    (rules,) = _RULES.dump_python((profile,), mode="json")
    for part in fields(profile):
        if isinstance(getattr(profile, part.name), frozenset):
            rules[part.name] = sorted(rules[part.name])
    return _canonical(rules)


def export_record(evidence: LoginEvidence) -> bytes:
    """The record as a JSON file.

    Args:
        evidence: as stored.
    """
    record: dict[str, object] = {
        "format": FORMAT,
        "evidence_id": evidence.evidence_id,
        "decided_at": int(evidence.decided_at.timestamp()),
        "subject": evidence.subject,
        "certificates": [_text(der) for der in evidence.certificates],
        "possession": {
            "origin": evidence.origin,
            "nonce": evidence.nonce,
            "algorithm": evidence.algorithm,
            "signature": _text(evidence.signature),
        },
        "status": {
            "source": "ocsp" if evidence.ocsp_response else "crl",
            "responder_url": evidence.responder_url,
            "responder": evidence.responder,
            "this_update": int(evidence.this_update.timestamp()),
            "nonce_matched": evidence.ocsp_nonce_matched,
            "from_cache": evidence.from_cache,
            "request": None if evidence.ocsp_request is None else _text(evidence.ocsp_request),
            "response": _text(evidence.ocsp_response),
        },
        "rules": json.loads(evidence.rules),
    }
    if evidence.lists:
        record["lists"] = [_text(der) for der in evidence.lists]
    if evidence.authority_lists:
        record["authority_lists"] = [_text(der) for der in evidence.authority_lists]
    record["sha256"] = {
        "token": evidence.token_sha256.hex(),
        "certificate": sha256(evidence.certificates[0]).hexdigest(),
        "response": sha256(evidence.ocsp_response).hexdigest(),
        "rules": sha256(evidence.rules).hexdigest(),
        "record": sha256(_canonical(record)).hexdigest(),
    }
    return json.dumps(record, indent=2, ensure_ascii=False).encode() + b"\n"


def read_record(unverified: bytes) -> DecisionRecord:
    """Read a record and compare its hashes.

    Raises:
        RecordUnreadable: it is no record, or its hashes are not its own.
    """
    if len(unverified) > MAX_RECORD_BYTES:
        raise RecordUnreadable(f"longer than {MAX_RECORD_BYTES} bytes")
    try:
        values = json.loads(unverified)
        record = _Record.model_validate_json(unverified)
        certificate = x509.load_der_x509_certificate(record.certificates[0])
        profile = _profile(record, certificate.serial_number)
        evidence = _evidence(record)
    except (*_UNREADABLE, TrustError) as e:
        raise RecordUnreadable(f"no record of a decision ({type(e).__name__})") from None
    body = {name: value for name, value in values.items() if name != "sha256"}
    expected = {
        "certificate": sha256(evidence.certificates[0]).hexdigest(),
        "response": sha256(evidence.ocsp_response).hexdigest(),
        "rules": sha256(evidence.rules).hexdigest(),
        "record": sha256(_canonical(body)).hexdigest(),
    }
    wrong = sorted(name for name, digest in expected.items() if record.sha256.get(name) != digest)
    if wrong:
        raise RecordUnreadable(f"it was changed: the hash of {', '.join(wrong)} is another")
    decision = UnverifiedDecision(
        certificates=evidence.certificates,
        profile=profile,
        request_der=evidence.ocsp_request,
        response_der=evidence.ocsp_response,
        responder_url=evidence.responder_url,
        from_cache=evidence.from_cache,
        lists=evidence.lists,
        authority_lists=evidence.authority_lists,
        decided_at=evidence.decided_at,
    )
    return DecisionRecord(decision, evidence)


def _profile(record: _Record, serial: int) -> IssuerProfile:
    (profile,) = _RULES.validate_json(json.dumps([_BEFORE_AUTHORITY_STATUS | record.rules]))
    if isinstance(profile.person, PersonRegister):
        person = PersonRegister({serial: record.subject}, profile.person.pattern)
        return replace(profile, person=person)
    return profile


def _evidence(record: _Record) -> LoginEvidence:
    status, possession = record.status, record.possession
    return LoginEvidence(
        evidence_id=record.evidence_id,
        subject=record.subject,
        token_sha256=bytes.fromhex(record.sha256.get("token", "")),
        algorithm=possession.algorithm,
        signature=possession.signature,
        origin=possession.origin,
        nonce=possession.nonce,
        certificates=record.certificates,
        ocsp_request=status.request,
        ocsp_response=status.response,
        ocsp_nonce_matched=status.nonce_matched,
        responder=status.responder,
        responder_url=status.responder_url,
        from_cache=status.from_cache,
        this_update=datetime.fromtimestamp(status.this_update, UTC),
        decided_at=datetime.fromtimestamp(record.decided_at, UTC),
        rules=_canonical(record.rules),
        lists=record.lists,
        authority_lists=record.authority_lists,
    )


def _canonical(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
