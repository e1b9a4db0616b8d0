"""The responder while one key follows another, its delegate's or its lists': part of the wiring."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from signer.payload import Purpose
from signer.range_signer import CRL_RANGE, OCSP_RANGE, RangeSigner, RangeTerms
from signer.rotation import Rotated
from webapi.ocsp_listener import Listener, SignerFor
from webapi.settings_responder import OcspListenerSettings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


class MakeListener(Protocol):
    """`webapi.ocsp_listener.make_listener`, with its database and the like."""

    def __call__(self, listener: OcspListenerSettings, *, signer_for: SignerFor) -> Listener:
        """What answers by one delegate's key."""


def rotating_listener(
    listener: OcspListenerSettings,
    *,
    certificate_file: Callable[[Purpose, str], Path],
    range_signers: Callable[[Purpose, RangeTerms], Rotated[RangeSigner]],
    make: MakeListener,
    clock: Callable[[], datetime],
) -> Listener:
    """A listener whose keys, of its delegate and of its lists, follow one another by the clock.

    Args:
        listener: its settings.
        certificate_file: where the certificate of a purpose's key is.
        range_signers: gives the signers of a purpose, for each of its keys.
        make: makes a listener for one key of each purpose.
        clock: gives aware UTC.

    Raises:
        As `certificate_file`, `range_signers` and `make`.
    """
    delegates = range_signers(Purpose.OCSP_CITIZEN_CA, OCSP_RANGE)

    def listen(own: OcspListenerSettings, signers: Mapping[Purpose, RangeSigner]) -> Listener:
        def listen_as(key: str, signer: RangeSigner) -> Listener:
            purpose = Purpose.OCSP_CITIZEN_CA
            certified = {"delegate_certificate": certificate_file(purpose, key)}
            signer_for = {**signers, purpose: signer}.__getitem__
            return make(own.model_copy(update=certified), signer_for=signer_for)

        return _following(delegates.map(listen_as), clock)

    if listener.crl_certificate is None:
        return listen(listener, {})

    def publish_by(key: str, signer: RangeSigner) -> Listener:
        purpose = Purpose.CRL_CITIZEN_CA
        certified = {"crl_certificate": certificate_file(purpose, key)}
        return listen(listener.model_copy(update=certified), {purpose: signer})

    return _following(range_signers(Purpose.CRL_CITIZEN_CA, CRL_RANGE).map(publish_by), clock)


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
