"""WSGI entry points; each runs in a worker process, after the fork.

granian ends its workers without running `atexit`, so what must be put away at
the end is registered with multiprocessing, whose finalizers do run.
"""

import os
from multiprocessing import parent_process
from multiprocessing.util import Finalize
from pathlib import Path

from flask import Flask

from webapi.config import CONFIG_VARIABLE, load_settings
from webapi.end_with_parent import end_with_parent
from webapi.key_watch import responder_purposes
from webapi.logs import configure_logs
from webapi.start_report import report_when_listening
from webapi.supervisor import protect_memory
from webapi.uncaught import ends_logged, log_uncaught
from webapi.wiring import Wiring


def _wiring() -> Wiring:
    parent = parent_process()
    if parent is not None and parent.pid is not None:
        end_with_parent(parent.pid)
    protect_memory()
    configure_logs()
    log_uncaught()
    settings = load_settings(Path(os.environ[CONFIG_VARIABLE]), os.environ)
    wiring = Wiring(settings)
    Finalize(None, wiring.close, exitpriority=10)
    return wiring


def web() -> Flask:
    """The site's application."""
    with ends_logged():
        application = _wiring().web_application()
        report_when_listening()
    return application


def ocsp() -> Flask:
    """The OCSP responder's application."""
    with ends_logged():
        wiring = _wiring()
        application = wiring.ocsp_application()
        wiring.start_ocsp_jobs()
        wiring.watch_keys(responder_purposes(wiring.settings))
        report_when_listening()
    return application
