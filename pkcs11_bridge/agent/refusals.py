"""A refusal as programs get it: a stable code, an exit code, what was meant for people beside.

Exit codes: 0 done · 2 wrong usage · 3 the service did not prove itself · 4 a person must do
something (PIN, card, reader) · 5 configuration · 6 try again later · 7 the card has no usable
certificate or key · 8 the request or the origins file is malformed.
"""

import re

from pkcs11_bridge import errors
from pkcs11_bridge.agent import errors as agent_errors
from pkcs11_bridge.agent.words import Language, advice

REFUSALS = (errors.TokenError, agent_errors.AgentError)

_EXIT_CODES: tuple[tuple[type[Exception], int], ...] = (
    (agent_errors.ProofError, 3),
    (agent_errors.OriginNotConfirmed, 3),
    (agent_errors.FinalTryRefused, 4),
    (agent_errors.CertificateNotSuitable, 7),
    (agent_errors.CertificateAmbiguous, 7),
    (agent_errors.CardSignatureInvalid, 7),
    (agent_errors.AgentError, 8),
    (errors.NeedsPerson, 4),
    (errors.RetryLater, 6),
    (errors.KeyGone, 7),
    (errors.TokenError, 5),
)


def exit_code(error: Exception) -> int:
    """The program's exit code for a refusal."""
    return next(code for kind, code in _EXIT_CODES if isinstance(error, kind))


def refusal_code(kind: type[Exception]) -> str:
    """The stable code: the class's name in kebab case."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


def refusal_members(error: Exception, language: Language) -> dict[str, str | int]:
    """The refusal as JSON: code, message, advice in plain words, tries left where known."""
    members: dict[str, str | int] = {
        "code": refusal_code(type(error)),
        "message": str(error),
        "advice": advice(error, language),
    }
    tries = getattr(error, "tries_left", None)
    if tries is not None:
        members["tries_left"] = tries
    return members
