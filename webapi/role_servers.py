"""The processes of the service, one role each; `python -m webapi.roles` starts them.

A replacement may run beside its predecessor while it comes up: granian's listeners share a port
(SO_REUSEPORT), a second worker stands by; only the listener for metrics cannot share.

No token module is loaded here: web and OCSP load theirs in the worker processes
that granian makes, the background worker loads its own.
"""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType

from granian.constants import HTTPModes, Interfaces
from granian.log import LogLevels
from granian.server import Server

from webapi.config import CONFIG_VARIABLE, load_settings
from webapi.end_with_parent import end_with_parent
from webapi.logs import GRANIAN_LOGS, configure_logs
from webapi.operations.metrics_files import prepare_folder
from webapi.settings_model import ServiceSettings, Settings
from webapi.settings_responder import OcspListenerSettings
from webapi.settings_tokens import Zone
from webapi.start_report import report_to, report_up
from webapi.supervisor import protect_memory
from webapi.token_keys import WORKER_PURPOSES, ZONE_OF, forget_pins
from webapi.uncaught import log_uncaught

# A thread waits while a request's body comes in: many, for clients on poor lines.
WEB_THREADS = 32
OCSP_THREADS = 16
WORKER_STOP_SECONDS = 8
"""How long a granian worker may go on answering after it was told to stop: less than the
supervisor gives the whole role."""


def serve_web(settings: Settings) -> None:
    """Serve the site over HTTPS until told to stop."""
    service = settings.service
    certificate, key = service.tls_certificate, service.tls_key
    _serve("webapi.entry:web", service, WEB_THREADS, certificate=certificate, key=key)


def serve_ocsp(settings: Settings) -> None:
    """Answer OCSP requests over plain HTTP until told to stop; the answers are signed."""
    listener = settings.ocsp_listener
    if listener is None:
        msg = "there is no section [ocsp_listener] in the configuration"
        raise SystemExit(msg)
    _serve("webapi.entry:ocsp", listener, OCSP_THREADS)


def _serve(
    target: str,
    listener: ServiceSettings | OcspListenerSettings,
    threads: int,
    *,
    certificate: Path | None = None,
    key: Path | None = None,
) -> None:
    # A process that is forked has granian's own handler until it listens, which would only note
    # there that the server is to stop: told to end while it starts, it would have to be killed.
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, _leave))
    Server(
        target,
        address=listener.listen_host,
        port=listener.listen_port,
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        workers=listener.workers,
        blocking_threads=threads,
        ssl_cert=certificate,
        ssl_key=key,
        respawn_failed_workers=True,
        workers_kill_timeout=WORKER_STOP_SECONDS,
        log_access=False,
        log_level=LogLevels.warning,
        log_dictconfig=GRANIAN_LOGS,
        factory=True,
    ).serve()


def _leave(number: int, _frame: FrameType | None) -> None:
    """Put away what there is, and end; told again, it is still doing that."""
    signal.signal(number, signal.SIG_IGN)
    sys.exit(128 + number)


def run_worker(settings: Settings) -> None:
    """Do the background work until told to stop."""
    from webapi.worker import run  # noqa: PLC0415 - only this role needs it

    run(settings)


def serve_metrics(settings: Settings) -> None:
    """Give Prometheus what the other roles measured, until told to stop."""
    from webapi.operations.metrics_listener import metrics_server  # noqa: PLC0415 - this role alone

    if settings.metrics is None:
        msg = "there is no section [metrics] in the configuration"
        raise SystemExit(msg)
    listener = settings.metrics
    with metrics_server(listener.directory, listener.listen_host, listener.listen_port) as server:
        report_up()
        server.serve_forever()


ROLES: Mapping[str, Callable[[Settings], None]] = {
    "web": serve_web,
    "ocsp": serve_ocsp,
    "worker": run_worker,
    "metrics": serve_metrics,
}

ZONES: Mapping[str, frozenset[Zone]] = {
    "ocsp": frozenset({"pki"}),
    "worker": frozenset(ZONE_OF[purpose] for purpose in WORKER_PURPOSES),
}
"""With which zones' keys a role signs; a role that is not named here signs with none."""


def main(arguments: list[str]) -> None:
    """Run the one role that is named; under a supervisor, end with it and report to it."""
    role, *supervisor = arguments or [""]
    if (
        role not in ROLES
        or len(supervisor) not in (0, 2)
        or not all(text.isdecimal() for text in supervisor)
    ):
        msg = f"usage: python -m webapi.roles {'|'.join(ROLES)} [PARENT-PROCESS-ID DESCRIPTOR]"
        raise SystemExit(msg)
    configure_logs()
    log_uncaught()
    if supervisor:
        parent, descriptor = map(int, supervisor)
        end_with_parent(parent)
        report_to(descriptor)
    protect_memory()
    settings = load_settings(Path(os.environ[CONFIG_VARIABLE]), os.environ)
    forget_pins(settings, except_of=ZONES.get(role, frozenset()))
    if settings.metrics is not None:
        # Before granian forks, and before anything imports the client library.
        prepare_folder(settings.metrics.directory, role, os.environ)
    ROLES[role](settings)
