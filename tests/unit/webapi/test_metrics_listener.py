"""/metrics: several processes, one answer, on an address of its own."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
import urllib3

from tests.support.processes import free_ports
from tests.support.settings import DEVELOPMENT_SETTINGS
from webapi import role_servers
from webapi.cli.serve import _names_of
from webapi.config import load_settings
from webapi.operations.metrics_files import (
    VARIABLE,
    MetricsFolderUnsafe,
    measured_files,
    prepare_folder,
)
from webapi.operations.metrics_listener import metrics_server, render

MEASURING = """
import sys
from prometheus_client import CollectorRegistry
from webapi.operations.metrics import Metrics
metrics = Metrics(CollectorRegistry())
metrics.login_decided("signed_in", 0.25)
metrics.stock_counted(int(sys.argv[1]))
metrics.token_pool("login", sys.exit).waiting()
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def measuring(folder: Path, stock: int) -> Iterator[None]:
    """A process that has measured and still runs."""
    with subprocess.Popen(
        [sys.executable, "-c", MEASURING, str(stock)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, VARIABLE: str(folder)},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
        process.communicate()


def test_processes_add_up_and_the_levels_of_ended_ones_are_gone(tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    environment: dict[str, str] = {}
    for role in ("web", "worker"):
        prepare_folder(directory, role, environment)
        assert environment[VARIABLE] == str(directory / role)
    with measuring(directory / "web", 5), measuring(directory / "worker", 7):
        text = render(directory).decode()
        assert 'tamga_logins_total{outcome="signed_in"} 2.0' in text
        assert "tamga_challenge_stock 7.0" in text
        assert 'tamga_token_sessions_waiting{zone="login"} 2.0' in text
        assert text.count("# TYPE tamga_logins_total counter") == 1
        assert "pid=" not in text
    text = render(directory).decode()
    assert 'tamga_logins_total{outcome="signed_in"} 2.0' in text
    assert "tamga_challenge_stock" not in text
    assert "tamga_token_sessions_waiting" not in text
    prepare_folder(directory, "web", environment)
    prepare_folder(directory, "worker", environment)
    assert measured_files(directory) == []


def test_files_of_a_process_that_runs_are_left_alone(tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    prepare_folder(directory, "worker", {})
    own = directory / "worker" / f"counter_{os.getpid()}.db"
    init = directory / "worker" / "gauge_livesum_1.db"
    foreign = directory / "worker" / "counter_notes.db"
    for file in (own, init, foreign):
        file.write_bytes(b"")
    prepare_folder(directory, "worker", {})
    assert measured_files(directory) == sorted([str(own), str(init)])


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    directory.mkdir(mode=0o755)
    with pytest.raises(MetricsFolderUnsafe):
        prepare_folder(directory, "web", {})
    directory.chmod(0o700)
    (directory / "web").mkdir(mode=0o770)
    (directory / "web").chmod(0o770)
    environment: dict[str, str] = {}
    with pytest.raises(MetricsFolderUnsafe):
        prepare_folder(directory, "web", environment)
    assert environment == {}
    (directory / "worker").symlink_to(tmp_path)
    with pytest.raises(MetricsFolderUnsafe):
        prepare_folder(directory, "worker", {})


def test_the_listener_answers_one_address_alone(tmp_path: Path) -> None:
    directory = tmp_path / "metrics"
    prepare_folder(directory, "web", {})
    with measuring(directory / "web", 5), metrics_server(directory, "127.0.0.1", 0) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        with urllib3.PoolManager(retries=False) as http:
            base = f"http://127.0.0.1:{server.server_address[1]}"
            answer = http.request("GET", f"{base}/metrics")
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert answer.headers["Server"] == "tamga"
            assert b"tamga_challenge_stock 5.0" in answer.data
            assert http.request("GET", f"{base}/metrics/..").status == 404
            assert http.request("POST", f"{base}/metrics").status == 501
        server.shutdown()


def settings_with(folder: Path, section: str) -> Path:
    path = folder / "tamga.toml"
    path.write_text(DEVELOPMENT_SETTINGS + section, encoding="utf-8")
    return path


def test_the_role_runs_where_it_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = settings_with(tmp_path, '[metrics]\ndirectory = "metrics"\n')
    started = []
    monkeypatch.setenv("TAMGA_CONFIG", str(path))
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr(role_servers, "end_with_parent", lambda _parent: None)
    monkeypatch.setattr(role_servers, "configure_logs", lambda: None)
    monkeypatch.setattr(role_servers, "log_uncaught", lambda: None)
    monkeypatch.setattr(role_servers, "protect_memory", lambda: None)
    monkeypatch.setitem(role_servers.ROLES, "web", lambda s: started.append(s.metrics.listen_port))
    role_servers.main(["web"])
    assert started == [9464]
    assert os.environ[VARIABLE] == str(tmp_path / "metrics" / "web")
    assert _names_of(load_settings(path, {}), ()) == ["web", "worker", "metrics"]


def test_the_role_without_its_section_is_refused(tmp_path: Path) -> None:
    settings = load_settings(settings_with(tmp_path, ""), {})
    with pytest.raises(SystemExit, match=r"\[metrics\]"):
        role_servers.serve_metrics(settings)


def test_the_role_serves_until_it_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = settings_with(tmp_path, '[metrics]\ndirectory = "metrics"\n')
    served = []

    def note(server: ThreadingHTTPServer) -> None:
        served.append(server.server_address)

    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", note)
    (port,) = free_ports(1)
    role_servers.serve_metrics(load_settings(path, {"TAMGA_METRICS__LISTEN_PORT": str(port)}))
    assert served == [("127.0.0.1", port)]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "localhost"])  # noqa: S104 - refused
def test_an_address_that_others_reach_is_refused(tmp_path: Path, host: str) -> None:
    path = settings_with(tmp_path, f'[metrics]\ndirectory = "m"\nlisten_host = "{host}"\n')
    with pytest.raises(Exception, match="listen_host"):
        load_settings(path, {})
