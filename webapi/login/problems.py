"""What a client is told for each reason for which a login is refused.

Texts are in English and Mongolian; none names an internal part.
"""

from collections.abc import Mapping
from functools import partial

from ocsp import errors as status
from signer import errors as login
from webapi.login.service import NotSignedIn
from webapi.problems import Fact, Problem, ProblemTable

_AGAIN = ("Start the sign-in again.", "Нэвтрэлтийг дахин эхлүүлнэ үү.")
_ISSUER = (
    "Ask the office that issued the card.",
    "Карт олгосон газарт хандана уу.",
)
_LATER = ("Try again in a minute.", "Нэг минутын дараа дахин оролдоно уу.")
_CLIENT = (
    "Update the card program and the extension.",
    "Картын программ, өргөтгөлөө шинэчилнэ үү.",
)


def _row(http_status: int, code: str, title: tuple[str, str], step: tuple[str, str]) -> Problem:
    return Problem(
        status=http_status,
        code=code,
        title=title[0],
        next_step=step[0],
        title_mn=title[1],
        next_step_mn=step[1],
    )


_bad_token = partial(_row, 400)
_refused = partial(_row, 403)


def _revocation(error: Exception) -> Mapping[str, Fact]:
    if not isinstance(error, status.CertificateRevoked):
        return {}
    facts: dict[str, Fact] = {"revoked_at": error.revoked_at.isoformat()}
    return facts | ({"reason": error.reason} if error.reason else {})


def _suspension(error: Exception) -> Mapping[str, Fact]:
    if not isinstance(error, status.CertificateSuspended):
        return {}
    return {"suspended_since": error.since.isoformat()}


_REQUEST: ProblemTable = {
    NotSignedIn: _row(
        401,
        "not_signed_in",
        ("You are not signed in.", "Та нэвтрээгүй байна."),
        ("Sign in with your card.", "Картаараа нэвтэрнэ үү."),
    ),
    login.ChallengeStockEmpty: Problem(
        503,
        "challenge_stock_empty",
        "The service has no challenge ready.",
        "Try again in a few seconds.",
        title_mn="Үйлчилгээ түр завгүй байна.",
        next_step_mn="Хэдэн секундын дараа дахин оролдоно уу.",
        retry_after_seconds=2,
    ),
    login.ChallengeNotFound: _refused(
        "challenge_not_found",
        (
            "The challenge is unknown or was used before.",
            "Энэ нэвтрэлтийн хүсэлт танигдахгүй эсвэл аль хэдийн ашиглагдсан байна.",
        ),
        _AGAIN,
    ),
    login.ChallengeExpired: _refused(
        "challenge_expired",
        ("The challenge's time is over.", "Нэвтрэх хугацаа дууссан байна."),
        _AGAIN,
    ),
    login.ChallengeOfAnotherBrowser: _refused(
        "challenge_of_another_browser",
        (
            "The challenge was issued to another browser.",
            "Энэ нэвтрэлтийн хүсэлт өөр хөтчид олгогдсон байна.",
        ),
        _AGAIN,
    ),
    login.TokenMalformed: _bad_token(
        "token_malformed",
        ("The authentication token is malformed.", "Нэвтрэлтийн токен гэмтэлтэй байна."),
        _CLIENT,
    ),
    login.TokenFormatUnsupported: _bad_token(
        "token_format_unsupported",
        (
            "The authentication token's format is not web-eid:1.0.",
            "Нэвтрэлтийн токены хувилбар таарахгүй байна.",
        ),
        _CLIENT,
    ),
    login.TokenAlgorithmUnsupported: _bad_token(
        "token_algorithm_unsupported",
        (
            "The token's algorithm is not allowed, or does not fit the card's key.",
            "Картын гарын үсгийн алгоритм таарахгүй байна.",
        ),
        _ISSUER,
    ),
    login.TokenSignatureInvalid: _refused(
        "token_signature_invalid",
        (
            "The signature is not over this site and this challenge.",
            "Гарын үсэг энэ сайт, энэ хүсэлтэд хамаарахгүй байна.",
        ),
        _AGAIN,
    ),
}

_CERTIFICATE: ProblemTable = {
    status.CertificateRefused: _refused(
        "certificate_refused",
        ("The certificate cannot be accepted.", "Гэрчилгээг хүлээн авах боломжгүй."),
        _ISSUER,
    ),
    status.CertificateMalformed: _bad_token(
        "certificate_malformed",
        ("The certificate cannot be read.", "Гэрчилгээг уншиж чадсангүй."),
        _ISSUER,
    ),
    status.CertificateNotYetValid: _refused(
        "certificate_not_yet_valid",
        ("The certificate is not valid yet.", "Гэрчилгээ хүчинтэй болоогүй байна."),
        _ISSUER,
    ),
    status.CertificateExpired: _refused(
        "certificate_expired",
        ("The certificate has expired.", "Гэрчилгээний хугацаа дууссан байна."),
        _ISSUER,
    ),
    status.CertificateNotTrusted: _refused(
        "certificate_not_trusted",
        (
            "The certificate is not from an issuer that this service accepts.",
            "Гэрчилгээг олгосон байгууллагыг энэ үйлчилгээ хүлээн зөвшөөрдөггүй.",
        ),
        _ISSUER,
    ),
    status.CertificatePurposeMissing: _refused(
        "certificate_purpose_missing",
        ("The certificate states no purpose.", "Гэрчилгээнд зориулалт нь заагаагүй байна."),
        _ISSUER,
    ),
    status.CertificatePurposeWrong: _refused(
        "certificate_purpose_wrong",
        ("The certificate is not for signing in.", "Гэрчилгээ нэвтрэхэд зориулагдаагүй байна."),
        ("Choose the authentication certificate.", "Нэвтрэх гэрчилгээгээ сонгоно уу."),
    ),
    status.CertificatePolicyDisallowed: _refused(
        "certificate_policy_disallowed",
        (
            "Certificates of this policy are not accepted.",
            "Ийм бодлоготой гэрчилгээг хүлээн авахгүй.",
        ),
        _ISSUER,
    ),
    status.CertificatePolicyMissing: _refused(
        "certificate_policy_missing",
        (
            "The certificate lacks the policy that sign-in needs.",
            "Гэрчилгээнд нэвтрэхэд шаардлагатай бодлого алга.",
        ),
        _ISSUER,
    ),
    status.KeyTooWeak: _refused(
        "key_too_weak",
        ("The card's key is too weak.", "Картын түлхүүр хэт сул байна."),
        _ISSUER,
    ),
    status.CertificatePersonMissing: _refused(
        "certificate_person_missing",
        (
            "The certificate does not name exactly one person.",
            "Гэрчилгээнд нэг иргэн тодорхой заагдаагүй байна.",
        ),
        _ISSUER,
    ),
    status.AuthorityRevoked: _refused(
        "authority_revoked",
        (
            "The authority that issued the certificate is revoked.",
            "Гэрчилгээг олгосон байгууллагын гэрчилгээ хүчингүй болсон байна.",
        ),
        _ISSUER,
    ),
    status.CertificateRevoked: Problem(
        403,
        "certificate_revoked",
        "The certificate is revoked.",
        _ISSUER[0],
        title_mn="Гэрчилгээ хүчингүй болсон байна.",
        next_step_mn=_ISSUER[1],
        facts=_revocation,
    ),
    status.CertificateSuspended: Problem(
        403,
        "certificate_suspended",
        "The certificate is suspended.",
        _ISSUER[0],
        title_mn="Гэрчилгээ түр түдгэлзсэн байна.",
        next_step_mn=_ISSUER[1],
        facts=_suspension,
    ),
}

_UNDECIDED: ProblemTable = {
    status.PathUndecided: Problem(
        503,
        "path_undecided",
        "The certificate could not be checked.",
        _LATER[0],
        title_mn="Гэрчилгээг шалгаж чадсангүй.",
        next_step_mn=_LATER[1],
        retry_after_seconds=60,
    ),
    status.CertificateStatusUnknown: _refused(
        "certificate_status_unknown",
        (
            "The issuer does not know the certificate.",
            "Олгосон байгууллага нь энэ гэрчилгээг танихгүй байна.",
        ),
        _ISSUER,
    ),
    status.CertificateStatusUnavailable: Problem(
        503,
        "certificate_status_unavailable",
        "The issuer did not say whether the certificate is good.",
        _LATER[0],
        title_mn="Гэрчилгээ хүчинтэй эсэхийг олгосон байгууллагаас нь лавлаж чадсангүй.",
        next_step_mn=_LATER[1],
        retry_after_seconds=60,
    ),
}

PROBLEMS: ProblemTable = {**_REQUEST, **_CERTIFICATE, **_UNDECIDED}
"""Rows of the login; `webapi.app` merges them with those of the other areas."""
