"""The client's 21 checks by number and name, and which refusal is of which check."""

from enum import Enum

from ocsp import errors
from ocsp.crl.errors import AuthorityStatusUnknown


class Check(Enum):
    """A check of `docs/ocsp-checks.md`; the value is its number."""

    CHAIN = 1
    REQUEST = 2
    CERTID_HASH = 3
    METHOD = 4
    HTTP = 5
    RESPONSE_STATUS = 6
    RESPONSE_TYPE = 7
    SIGNATURE = 8
    AUTHORISED_SIGNER = 9
    DELEGATE_STATUS = 10
    RESPONDER_ID = 11
    CERTID = 12
    TIMES = 13
    CRITICAL_EXTENSIONS = 14
    NONCE = 15
    STATUS = 16
    CACHE = 17
    STATEMENTS = 18
    CRL = 19
    HARD_FAIL = 20
    CA_STATUS = 21


IN_ORDER = (
    Check.RESPONSE_STATUS,
    Check.RESPONSE_TYPE,
    Check.RESPONDER_ID,
    Check.AUTHORISED_SIGNER,
    Check.DELEGATE_STATUS,
    Check.SIGNATURE,
    Check.CERTID,
    Check.TIMES,
    Check.CRITICAL_EXTENSIONS,
    Check.NONCE,
    Check.STATEMENTS,
    Check.STATUS,
)
"""Those that are made on an answer that came, in the order in which `ocsp.response` makes them."""

_CHECK_OF: dict[type[errors.TrustError], Check] = {
    errors.CertificateStatusUnknown: Check.STATUS,
    errors.CertificateRevoked: Check.STATUS,
    errors.CertificateSuspended: Check.STATUS,
    errors.CertificateStatusUnavailable: Check.HARD_FAIL,
    errors.AuthorityRevoked: Check.CA_STATUS,
    AuthorityStatusUnknown: Check.CA_STATUS,
    errors.CrlRefused: Check.CRL,
    errors.CertificateRefused: Check.CHAIN,
    errors.PathUndecided: Check.CHAIN,
    errors.QuestionWrong: Check.REQUEST,
    errors.AnswerHttpWrong: Check.HTTP,
    errors.ResponderDeclined: Check.RESPONSE_STATUS,
    errors.AnswerMalformed: Check.RESPONSE_TYPE,
    errors.ResponderNotNamed: Check.RESPONDER_ID,
    errors.ResponderKeyTooWeak: Check.SIGNATURE,
    errors.DelegateStatusUnknown: Check.DELEGATE_STATUS,
    errors.DelegateRevoked: Check.DELEGATE_STATUS,
    errors.ResponderNotAuthorised: Check.AUTHORISED_SIGNER,
    errors.AnswerSignatureInvalid: Check.SIGNATURE,
    errors.AnswerAlgorithmRefused: Check.SIGNATURE,
    errors.AnswerAboutAnother: Check.CERTID,
    errors.AnswerFromFuture: Check.TIMES,
    errors.AnswerStale: Check.TIMES,
    errors.AnswerTimesContradict: Check.TIMES,
    errors.AnswerExtensionUnknown: Check.CRITICAL_EXTENSIONS,
    errors.NonceMissing: Check.NONCE,
    errors.NonceMismatch: Check.NONCE,
    errors.AnswerStatementWrong: Check.STATEMENTS,
    errors.KeptTooLong: Check.CACHE,
    errors.TransportError: Check.HTTP,
}


def check_of(refusal: errors.TrustError) -> Check:
    """The check that a refusal is of; raises KeyError for what is no refusal of a status."""
    for kind in type(refusal).__mro__:
        if kind in _CHECK_OF:
            return _CHECK_OF[kind]
    raise KeyError(type(refusal).__name__)
