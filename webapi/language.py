"""The two languages in which the service speaks to people."""

from typing import Literal

from flask import Request

Language = Literal["mn", "en"]
LANGUAGES: tuple[Language, ...] = ("mn", "en")


def preferred_language(request: Request) -> Language:
    """What Accept-Language prefers (RFC 9110 section 12.5.4); English if it names neither.

    Programs send no such header, and their logs are read in English; pages choose by themselves.
    """
    return "mn" if request.accept_languages.best_match(LANGUAGES, "en") == "mn" else "en"
