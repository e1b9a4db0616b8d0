"""Folders, disk space and ports."""

import errno
import os
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from ocsp.destination import Destination
from ocsp.errors import TransportFailed, TransportRefused
from ocsp.transport import Egress
from webapi.operations.checks import CheckResult
from webapi.settings_model import ServiceSettings, Settings
from webapi.settings_responder import OcspListenerSettings
from webapi.storage.realm import Realm
from webapi.storage.urls import is_sqlite, sqlite_path
from webapi.trust_settings import CertificateFileWrong, read_certificate_file

HTTPS_PORT, OCSP_PORT = "port.https", "port.ocsp"
WARN_BELOW_BYTES = 1024**3
FAIL_BELOW_BYTES = 100 * 1024**2

_PROBE = "doctor"
_PROBE_SECONDS = 3.0
_REQUEST_TYPE, _ANSWER_TYPE = "application/ocsp-request", "application/ocsp-response"
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared with, never bound


def database_folders(settings: Settings) -> Mapping[str, Path]:
    """The folders of the realms' files by the name of their check: one, if they share it.

    What PostgreSQL keeps is not on a disk of ours.
    """
    urls = {realm: settings.database.of(realm).url for realm in Realm}
    folders = {
        f"disk.database.{realm}": sqlite_path(url).parent
        for realm, url in urls.items()
        if is_sqlite(url)
    }
    places = set(folders.values())
    return {"disk.database": places.pop()} if len(places) == 1 else folders


def free_bytes(path: Path) -> int:
    """What the file system of a path has left for us."""
    return shutil.disk_usage(path).free


def check_disk(
    name: str, folder: Path, free: Callable[[Path], int] = free_bytes
) -> Iterator[CheckResult]:
    """There is room to write; a folder that is not there yet counts as its nearest parent."""
    left = free(_nearest(folder))
    seen = f"{left / 1024**2:,.0f} MiB free at {folder}"
    remedy = "Make room, or give the folder a larger disk."
    if left < FAIL_BELOW_BYTES:
        yield CheckResult.failed(name, seen, remedy)
    elif left < WARN_BELOW_BYTES:
        yield CheckResult.warning(name, seen, remedy)
    else:
        yield CheckResult.ok(name, seen)


def check_folder(name: str, folder: Path) -> Iterator[CheckResult]:
    """We may write there, or make it."""
    present = _nearest(folder)
    if not present.is_dir():
        yield CheckResult.failed(name, f"{present} is no folder", "Remove it, or correct the path.")
    elif not os.access(present, os.W_OK | os.X_OK):
        remedy = f"Give {present} to the service's user."
        yield CheckResult.failed(name, f"{present} cannot be written by this user", remedy)
    else:
        seen = "can be written" if present == folder else "is not there yet and can be made"
        yield CheckResult.ok(name, f"{folder} {seen}")


def _nearest(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def check_https_port(service: ServiceSettings) -> Iterator[CheckResult]:
    """Nobody listens there, or whoever shows our certificate does."""
    host, port = service.listen_host, service.listen_port

    def is_ours() -> bool:
        address = (_ANYWHERE.get(host, host), port)
        try:
            pem = ssl.get_server_certificate(address, timeout=_PROBE_SECONDS)
            own = read_certificate_file(service.tls_certificate)
        except (OSError, ValueError, CertificateFileWrong):
            return False
        return ssl.PEM_cert_to_DER_cert(pem) == own.public_bytes(Encoding.DER)

    yield _port_state(HTTPS_PORT, host, port, is_ours)


def check_ocsp_port(listener: OcspListenerSettings) -> Iterator[CheckResult]:
    """Nobody listens there, or a responder for our CA does."""
    host, port = listener.listen_host, listener.listen_port

    def is_ours() -> bool:
        dialled = _ANYWHERE.get(host, host)
        authority = f"[{dialled}]" if ":" in dialled else dialled
        url = f"http://{authority}:{port}/ocsp/{listener.ca}"
        place = Destination(url, allow_loopback=True, allow_private=True)
        try:
            # No request at all: a responder says so, and nothing is signed for it.
            answer = Egress({_PROBE: (place,)}).post(
                _PROBE,
                url,
                b"?",
                content_type=_REQUEST_TYPE,
                accept=_ANSWER_TYPE,
                max_bytes=1024,
                timeout=timedelta(seconds=_PROBE_SECONDS),
            )
        except (TransportRefused, TransportFailed):
            return False
        return (answer.status, answer.content_type) == (200, _ANSWER_TYPE)

    yield _port_state(OCSP_PORT, host, port, is_ours)


def _port_state(name: str, host: str, port: int, is_ours: Callable[[], bool]) -> CheckResult:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            # As servers do: connections that only wait for their end do not count.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as e:
        if e.errno != errno.EADDRINUSE:
            remedy = "Correct listen_host and listen_port; ports below 1024 need a privilege."
            return CheckResult.failed(name, f"{host} {port}: {e.strerror}", remedy)
    else:
        return CheckResult.ok(name, f"{host} {port} is free")
    if is_ours():
        return CheckResult.ok(name, f"{host} {port} is answered by this service")
    remedy = "Stop the other program, or choose another listen_port."
    return CheckResult.failed(name, f"another program listens on {host} {port}", remedy)
