"""GET /metrics for Prometheus: a process of its own, on a loopback address of its own.

It holds no key and no PIN, and the public site has no such route.
"""

from collections.abc import Iterable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector

from webapi.operations.metrics_files import measured_files

PATH = "/metrics"
READ_SECONDS = 5.0
"""How long a client may take to send its request."""


class FileCollector:
    """`prometheus_client.registry.Collector`: the sum of what all processes left in files."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        """Read the files anew."""
        merged: Iterable[Metric] = MultiProcessCollector.merge(measured_files(self._directory))
        return merged


def render(directory: Path) -> bytes:
    """All measurements of all roles in Prometheus' text format 0.0.4."""
    registry = CollectorRegistry()
    registry.register(FileCollector(directory))
    return generate_latest(registry)


def metrics_server(directory: Path, host: str, port: int) -> ThreadingHTTPServer:
    """The listener, bound; `serve_forever` starts it.

    Raises:
        OSError: the address is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        """Answers GET /metrics, and nothing else."""

        timeout = READ_SECONDS

        def do_GET(self) -> None:
            """Answer with the measurements of now."""
            if self.path != PATH:
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            body = render(directory)
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(body)

        def version_string(self) -> str:
            """Tell no versions."""
            return "tamga"

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its own name
            """Log no requests."""

    return ThreadingHTTPServer((host, port), Handler)
