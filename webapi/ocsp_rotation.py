"""The responder while one key follows another, its delegate's or its lists': part of the wiring."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ocsp.responder.crl_issuing import CrlIssuer
from signer.payload import Purpose
from signer.range_signer import CRL_RANGE, OCSP_RANGE, RangeSigner, RangeTerms
from signer.rotation import Rotated
from webapi.ocsp_listener import Ground, Job, Listener, make_issuer, make_lists, make_responder
from webapi.published_lists import CrlSource

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def rotating_listener(
    ground: Ground,
    *,
    certificate_file: Callable[[Purpose, str], Path],
    certificate_files: Callable[[Purpose], Iterable[Path]],
    range_signers: Callable[[Purpose, RangeTerms], Rotated[RangeSigner]],
    clock: Callable[[], datetime],
) -> Listener:
    """A listener whose keys, of its delegate and of its lists, follow one another by the clock.

    Args:
        ground: its settings, database and the like.
        certificate_file: where the certificate of a purpose's key is.
        certificate_files: where those of all its keys are, retired ones included.
        range_signers: gives the signers of a purpose, for each of its keys.
        clock: gives aware UTC.

    Raises:
        As `certificate_file`, `range_signers` and `webapi.ocsp_listener.make_responder`.
    """
    listener = ground.listener

    def issue(key: str, signer: RangeSigner) -> CrlIssuer:
        return make_issuer(listener, certificate_file(Purpose.CRL_CITIZEN_CA, key), signer)

    def respond(key: str, signer: RangeSigner) -> Listener:
        delegate = certificate_file(Purpose.OCSP_CITIZEN_CA, key)
        return make_responder(ground, delegate, signer, lists)

    lists: CrlSource | None = None
    list_jobs: Sequence[Job] = ()
    if listener.crl_certificate is not None:
        issuers = range_signers(Purpose.CRL_CITIZEN_CA, CRL_RANGE).map(issue)
        lists, list_jobs = make_lists(ground, issuers, certificate_files(Purpose.CRL_CITIZEN_CA))
    responders = range_signers(Purpose.OCSP_CITIZEN_CA, OCSP_RANGE).map(respond)
    answering = _following(responders, clock)
    return Listener(answering.application, [*answering.jobs, *list_jobs])


def _following(listeners: Rotated[Listener], clock: Callable[[], datetime]) -> Listener:
    """One listener that hands each request, and each run of a job, to that of the current key.

    A request is answered by one key from its beginning to its end, whenever the next takes over.

    Args:
        listeners: whole ones, each with its key, certificate, answers and jobs of the same names.
        clock: gives aware UTC.
    """
    inner = listeners.map(lambda _, listener: listener.application.wsgi_app)
    actions = listeners.map(lambda _, listener: {name: action for name, action, _ in listener.jobs})

    def follow(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        return inner.current(clock())(environ, start_response)

    def run(name: str) -> bool | None:
        return actions.current(clock())[name]()

    front = next(iter(listeners.items.values()))
    front.application.wsgi_app = follow  # type: ignore[method-assign]  # Flask's place for it
    jobs = [(name, partial(run, name), pause) for name, _, pause in front.jobs]
    return Listener(front.application, jobs)
