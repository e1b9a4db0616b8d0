"""OCSP answers with every field free, for tests: change one, `answer` signs the rest again.

`cryptography` dates answers by the wall clock and writes one single response only; this writes
whatever the spec says.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from hashlib import sha1, sha256
from typing import Any, Literal

from asn1crypto import algos, core, crl, ocsp
from asn1crypto import x509 as asn1_x509
from asn1crypto.keys import PublicKeyInfo
from cryptography.hazmat.primitives import serialization
from cryptography.x509 import ocsp as x509_ocsp

from ocsp.response import CERT_HASH_OID
from tests.support.certificates import NOW, Issued, Pki, sign_bytes

Status = Literal["good", "revoked", "unknown"]


@dataclass(frozen=True)
class SingleSpec:
    """One SingleResponse; `cert_id` is copied from the request unless fields are overridden."""

    status: Status = "good"
    revoked_at: datetime = NOW - timedelta(days=2)
    reason: str | int | None = None  # an int: any CRLReason at all, named or not
    this_update: datetime = NOW - timedelta(seconds=2)
    next_update: datetime | None = NOW + timedelta(minutes=10)
    cert_id: dict[str, Any] = field(default_factory=dict)
    critical_extension: str | None = None
    cert_hash_of: bytes | None = None  # the certificate that a certHash extension is of
    raw_cert_hash: bytes | None = None  # its value, whatever that is


@dataclass(frozen=True)
class AnswerSpec:
    """A whole OCSPResponse to `request`."""

    request: bytes
    signer: Issued
    certificates: tuple[Issued | bytes, ...]
    singles: tuple[SingleSpec, ...] = (SingleSpec(),)
    produced_at: datetime = NOW - timedelta(seconds=1)
    by_key: bool = True
    responder: Issued | None = None  # None: the signer names itself
    nonce: bytes | Literal["echo"] | None = "echo"
    nonce_critical: bool = False
    critical_extension: str | None = None
    repeat_extensions: int = 1
    algorithm: str | None = None  # asn1crypto's name; None: SHA-256 with the signer's key
    sign: tuple[bytes, Callable[[bytes], bytes]] | None = None  # AlgorithmIdentifier, and by what
    response_status: str = "successful"
    response_type: str = "basic_ocsp_response"
    spoil_signature: bool = False


def standard_spec(pki: Pki, request: bytes) -> AnswerSpec:
    """A good answer by the delegate of the citizen CA."""
    return AnswerSpec(request=request, signer=pki.delegate, certificates=(pki.delegate,))


def _cert_id(request: bytes, override: dict[str, Any]) -> ocsp.CertId:
    asked = x509_ocsp.load_der_ocsp_request(request)
    fields = {
        "hash_algorithm": algos.DigestAlgorithm({"algorithm": asked.hash_algorithm.name}),
        "issuer_name_hash": asked.issuer_name_hash,
        "issuer_key_hash": asked.issuer_key_hash,
        "serial_number": asked.serial_number,
    }
    return ocsp.CertId(fields | override)


def _single(request: bytes, spec: SingleSpec) -> ocsp.SingleResponse:
    match spec.status:
        case "revoked":
            info: dict[str, Any] = {"revocation_time": spec.revoked_at}
            if spec.reason is not None:
                info["revocation_reason"] = _reason(spec.reason)
            status = ocsp.CertStatus("revoked", ocsp.RevokedInfo(info))
        case _:
            status = ocsp.CertStatus(spec.status, core.Null())
    fields: dict[str, Any] = {
        "cert_id": _cert_id(request, spec.cert_id),
        "cert_status": status,
        "this_update": spec.this_update,
    }
    if spec.next_update is not None:
        fields["next_update"] = spec.next_update
    extensions = _single_extensions(spec)
    if extensions:
        fields["single_extensions"] = extensions
    return ocsp.SingleResponse(fields)


def _single_extensions(spec: SingleSpec) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if spec.critical_extension is not None:
        found.append(_unknown(spec.critical_extension))
    raw = spec.raw_cert_hash
    if spec.cert_hash_of is not None:
        digest = core.OctetString(sha256(spec.cert_hash_of).digest()).dump()
        body = algos.DigestAlgorithm({"algorithm": "sha256"}).dump() + digest
        raw = core.Sequence(contents=body).dump()
    if raw is not None:
        found.append(
            {
                "extn_id": CERT_HASH_OID,
                "critical": False,
                "extn_value": core.ParsableOctetString(raw),
            }
        )
    return found


def _reason(reason: str | int) -> crl.CRLReason:
    if isinstance(reason, str):
        return crl.CRLReason(reason)
    return crl.CRLReason(contents=core.Integer(reason).contents)


def _unknown(oid: str) -> dict[str, Any]:
    return {"extn_id": oid, "critical": True, "extn_value": core.ParsableOctetString(b"\x05\x00")}


def _nonce(spec: AnswerSpec) -> bytes | None:
    if spec.nonce != "echo":
        return spec.nonce
    for extension in x509_ocsp.load_der_ocsp_request(spec.request).extensions:
        return bytes(extension.value.public_bytes())[2:]  # the OCTET STRING inside
    return None


def _extensions(spec: AnswerSpec) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    nonce = _nonce(spec)
    if nonce is not None:
        inner = core.OctetString(nonce)
        found.append({"extn_id": "nonce", "critical": spec.nonce_critical, "extn_value": inner})
    if spec.critical_extension is not None:
        found.append(_unknown(spec.critical_extension))
    return found * spec.repeat_extensions


def _responder_id(spec: AnswerSpec) -> ocsp.ResponderId:
    named = spec.responder or spec.signer
    if not spec.by_key:
        name = asn1_x509.Name.load(named.certificate.subject.public_bytes())
        return ocsp.ResponderId("by_name", name)
    bits = named.key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    content = bytes(PublicKeyInfo.load(bits)["public_key"].contents[1:])  # less the unused bits
    return ocsp.ResponderId("by_key", core.OctetString(sha1(content).digest()))  # noqa: S324 -- RFC 6960 KeyHash


def answer(spec: AnswerSpec) -> bytes:
    """The DER of the OCSPResponse that the spec describes."""
    if spec.response_status != "successful":
        return bytes(ocsp.OCSPResponse({"response_status": spec.response_status}).dump())
    data = ocsp.ResponseData(
        {
            "responder_id": _responder_id(spec),
            "produced_at": spec.produced_at,
            "responses": [_single(spec.request, single) for single in spec.singles],
            "response_extensions": _extensions(spec) or None,
        }
    )
    tbs = data.dump()
    sign = partial(sign_bytes, spec.signer.key) if spec.sign is None else spec.sign[1]
    signature = sign(tbs)
    if spec.spoil_signature:
        signature = sign(tbs + b"\x00")
    is_rsa = type(spec.signer.key).__name__.startswith("RSA")
    name = spec.algorithm or ("sha256_rsa" if is_rsa else "sha256_ecdsa")
    ders = [c if isinstance(c, bytes) else c.der for c in spec.certificates]
    basic = ocsp.BasicOCSPResponse(
        {
            "tbs_response_data": data,
            "signature_algorithm": algos.SignedDigestAlgorithm({"algorithm": name})
            if spec.sign is None
            else algos.SignedDigestAlgorithm.load(spec.sign[0]),
            "signature": core.OctetBitString(signature),
            "certs": [asn1_x509.Certificate.load(der) for der in ders] or None,
        }
    )
    content = {
        "response_type": spec.response_type,
        "response": core.ParsableOctetString(basic.dump()),
    }
    whole = {"response_status": "successful", "response_bytes": content}
    return bytes(ocsp.OCSPResponse(whole).dump())
