"""What each key may sign: bytes become a payload only through their purpose's own check.

A key serves one purpose, and the payloads of two purposes never look alike:
login challenges begin with a label and a zero byte, checkpoints with the log's
origin line (an audit log's with `audit.`, a ballot log's never), OCSP answers with a DER SEQUENCE
that begins with a tagged ResponderID, revocation lists with one that begins with their version.
A key that is to be certified signs one thing more, before it goes into service: the request for its
certificate, a SEQUENCE that begins with the INTEGER 0, which is no list's version.
Beside them each key signs its health text, which begins with a label of its own and a zero byte.
"""

import hashlib
from dataclasses import InitVar, dataclass, field
from enum import StrEnum
from typing import Never

from asn1crypto import crl as asn1_crl
from asn1crypto import csr as asn1_csr
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp as x509_ocsp

from pkcs11_bridge.agent.challenge_proof import LABEL as LOGIN_CHALLENGE_LABEL
from signer.errors import PayloadRefused
from signer.verify import PublicKey

_SEAL = object()

MAX_CHECKPOINT_BYTES = 1024
MAX_OCSP_RESPONSE_DATA_BYTES = 16_384
_ID_PKIX_OCSP_BASIC = bytes.fromhex("06092b0601050507300101")
_ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
_EMPTY_BIT_STRING = bytes.fromhex("030100")
_SUCCESSFUL = bytes.fromhex("0a0100")
MAX_CRL_BYTES = 16_777_216
MAX_CERTIFICATION_REQUEST_BYTES = 4096


class Purpose(StrEnum):
    """A purpose; its value is the label (CKA_LABEL) of the one key that serves it."""

    LOGIN_CHALLENGE = "login-challenge"
    RECEIPT_LOG = "receipt-log"
    RECEIPT_LOG_ED25519 = "receipt-log-ed25519"
    OCSP_CITIZEN_CA = "ocsp-citizen-ca"
    CRL_CITIZEN_CA = "crl-citizen-ca"
    AUDIT = "audit"


CHECKPOINT_PURPOSES = frozenset({Purpose.RECEIPT_LOG, Purpose.RECEIPT_LOG_ED25519})
AUDIT_ORIGIN_PREFIX = "audit."
"""With it the name of every audit log begins, and of no ballot log."""

HEALTH_LABEL = b"tamga/health/1"
"""With it and a zero byte the health text of every key begins."""

OCSP_PURPOSES = frozenset({Purpose.OCSP_CITIZEN_CA})
CRL_PURPOSES = frozenset({Purpose.CRL_CITIZEN_CA})

CERTIFIED_PURPOSES = OCSP_PURPOSES | CRL_PURPOSES
"""Purposes whose keys need a certificate; they alone sign a request for one."""


@dataclass(frozen=True, slots=True)
class Payload:
    """Bytes that were found fit to be signed for one purpose.

    Attributes:
        purpose: the purpose, and so the key.
        message: the exact bytes to sign.
    """

    purpose: Purpose
    message: bytes = field(repr=False)
    seal: InitVar[object] = None

    def __post_init__(self, seal: object) -> None:
        if seal is not _SEAL:
            msg = "a Payload is made by its purpose's own function alone"
            raise TypeError(msg)

    def __reduce__(self) -> Never:
        msg = "a Payload cannot be pickled"
        raise TypeError(msg)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the message, 32 bytes."""
        return hashlib.sha256(self.message).digest()


def login_challenge_payload(text: bytes) -> Payload:
    """The signed text of a challenge proof.

    Args:
        text: as `pkcs11_bridge.agent.challenge_proof.signed_text` makes it.

    Raises:
        PayloadRefused: the text does not begin with the label and a zero byte.
    """
    if not text.startswith(LOGIN_CHALLENGE_LABEL + b"\x00"):
        raise PayloadRefused("a login challenge begins with its label and a zero byte")
    return Payload(Purpose.LOGIN_CHALLENGE, text, _SEAL)


def checkpoint_payload(purpose: Purpose, origin: str, text: bytes) -> Payload:
    r"""The note text of a ballot log's checkpoint (C2SP tlog-checkpoint), for one of its keys.

    Args:
        purpose: one of the log keys' purposes.
        origin: the log's origin; not one of an audit log.
        text: `origin\n` `size\n` `base64(root)\n`, nothing else.

    Raises:
        PayloadRefused: the purpose is not a log key's, the origin is an audit log's, or the
            text is of another form.
    """
    if purpose not in CHECKPOINT_PURPOSES:
        raise PayloadRefused(f"{purpose} is not the purpose of a log key")
    if origin.startswith(AUDIT_ORIGIN_PREFIX):
        raise PayloadRefused("an audit log is signed by the audit key alone")
    _require_checkpoint(origin, text)
    return Payload(purpose, text, _SEAL)


def audit_checkpoint_payload(purpose: Purpose, origin: str, text: bytes) -> Payload:
    """The note text of an audit log's checkpoint, to be signed by the audit key.

    Args:
        purpose: the audit key's.
        origin: the log's origin; it begins with `audit.`.
        text: as of `checkpoint_payload`.

    Raises:
        PayloadRefused: the purpose is another, the origin is no audit log's, or the text is
            of another form.
    """
    if purpose is not Purpose.AUDIT:
        raise PayloadRefused(f"{purpose} is not the purpose of the audit key")
    if not origin.startswith(AUDIT_ORIGIN_PREFIX):
        raise PayloadRefused("the audit key signs audit logs alone")
    _require_checkpoint(origin, text)
    return Payload(purpose, text, _SEAL)


def _require_checkpoint(origin: str, text: bytes) -> None:
    if not text.startswith(origin.encode() + b"\n"):
        raise PayloadRefused("a checkpoint begins with its log's origin line")
    if len(text) > MAX_CHECKPOINT_BYTES or text.count(b"\n") != 3 or not text.endswith(b"\n"):
        raise PayloadRefused("a checkpoint is three lines: origin, size and root")


def ocsp_response_payload(purpose: Purpose, response_data: bytes) -> Payload:
    """The tbsResponseData of an OCSP answer (RFC 6960, section 4.2.1), to be signed.

    Args:
        purpose: the purpose of a responder key.
        response_data: DER of ResponseData.

    Raises:
        PayloadRefused: the purpose is another, or the bytes are not a ResponseData.
    """
    if purpose not in OCSP_PURPOSES:
        raise PayloadRefused(f"{purpose} is not the purpose of an OCSP responder's key")
    if len(response_data) > MAX_OCSP_RESPONSE_DATA_BYTES:
        raise PayloadRefused("the OCSP answer is too large")
    try:
        # Of an answer that is whole the library parses all of it, and a hundred times as fast as
        # one that has a type for this part alone.
        parsed = x509_ocsp.load_der_ocsp_response(_unsigned_answer(response_data))
        is_exactly_this = parsed.tbs_response_bytes == response_data
        count = sum(1 for _ in parsed.responses)
    except (ValueError, TypeError) as error:
        raise PayloadRefused("the bytes are not the ResponseData of an OCSP answer") from error
    if not is_exactly_this or not count:
        raise PayloadRefused("an OCSP answer without a single response says nothing")
    return Payload(purpose, response_data, _SEAL)


def _unsigned_answer(response_data: bytes) -> bytes:
    """A successful OCSPResponse (RFC 6960, section 4.2.1) with an empty signature."""
    basic = _der(0x30, response_data, _ECDSA_SHA256, _EMPTY_BIT_STRING)
    response_bytes = _der(0x30, _ID_PKIX_OCSP_BASIC, _der(0x04, basic))
    return _der(0x30, _SUCCESSFUL, _der(0xA0, response_bytes))


def _der(tag: int, *contents: bytes) -> bytes:
    content = b"".join(contents)
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes((tag, 0x80 | len(length))) + length + content


def crl_payload(purpose: Purpose, tbs_cert_list: bytes) -> Payload:
    """The tbsCertList of a revocation list (RFC 5280, section 5.1), to be signed.

    Args:
        purpose: the purpose of a key of revocation lists.
        tbs_cert_list: DER of a TBSCertList, version 2.

    Raises:
        PayloadRefused: the purpose is another, or the bytes are not a TBSCertList.
    """
    if purpose not in CRL_PURPOSES:
        raise PayloadRefused(f"{purpose} is not the purpose of a key of revocation lists")
    if len(tbs_cert_list) > MAX_CRL_BYTES:
        raise PayloadRefused("the revocation list is too large")
    try:
        parsed = asn1_crl.TbsCertList.load(tbs_cert_list, strict=True)
        # asn1crypto parses a field when it is read.
        complete = (
            parsed["version"].native == "v2"
            and parsed["this_update"].native is not None
            and parsed["next_update"].native is not None
        )
    except (ValueError, TypeError) as error:
        raise PayloadRefused("the bytes are not the TBSCertList of a revocation list") from error
    if not complete:
        raise PayloadRefused("a revocation list has version 2, thisUpdate and nextUpdate")
    return Payload(purpose, tbs_cert_list, _SEAL)


def certification_request_payload(
    purpose: Purpose, public_key: PublicKey, request_info: bytes
) -> Payload:
    """The CertificationRequestInfo of a request for a certificate (RFC 2986, section 4.1).

    Whether the key is not yet in service is the caller's to check, by its rotation.

    Args:
        purpose: one of CERTIFIED_PURPOSES.
        public_key: of the key that is to sign: the one that the request names.
        request_info: DER.

    Raises:
        PayloadRefused: the purpose's keys have no certificates, the bytes are not such a request,
            nobody is named in it, or it names another key.
    """
    if purpose not in CERTIFIED_PURPOSES:
        raise PayloadRefused(f"a key for {purpose} has no certificate, and asks for none")
    if len(request_info) > MAX_CERTIFICATION_REQUEST_BYTES:
        raise PayloadRefused("the request for a certificate is too large")
    try:
        parsed = asn1_csr.CertificationRequestInfo.load(request_info, strict=True)
        # asn1crypto parses a field when it is read.
        is_first_version = parsed["version"].native == "v1"
        names = len(parsed["subject"].chosen)
        spki = parsed["subject_pk_info"].dump()
    except (ValueError, TypeError) as error:
        raise PayloadRefused("the bytes are not a CertificationRequestInfo") from error
    if not is_first_version or not names:
        raise PayloadRefused("a request for a certificate has version 1 and names somebody")
    if spki != public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
        raise PayloadRefused("the request is for another key's certificate")
    return Payload(purpose, request_info, _SEAL)


def health_payload(purpose: Purpose) -> Payload:
    """The one text by whose signature a key shows that it can sign.

    It has no line break, so it is no checkpoint; it begins with no other label, and as DER it would
    be an application's tag.

    Args:
        purpose: names the key, and ends the text.
    """
    return Payload(purpose, HEALTH_LABEL + b"\x00" + purpose.encode("ascii"), _SEAL)
