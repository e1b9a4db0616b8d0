"""`tamga ocsp query`: asks over real HTTP, by the rules of a login; the clock is the test's."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from werkzeug import Request, Response
from werkzeug.serving import make_server

from tests.support.certificates import NOW, development_like_pki
from tests.support.ocsp_answers import AnswerSpec, SingleSpec, answer, standard_spec
from tests.support.settings import DEVELOPMENT_SETTINGS
from webapi.cli import main, ocsp

PKI = development_like_pki()
SETTINGS_URL = "http://127.0.0.1:8480/ocsp/citizen-ca"


@contextmanager
def responder(change: Callable[[AnswerSpec], AnswerSpec] = lambda spec: spec) -> Iterator[str]:
    @Request.application
    def application(request: Request) -> Response:
        # A short question comes by GET.
        by_get = request.path.removeprefix("/ocsp/")
        asked = request.get_data() or base64.b64decode(by_get, validate=True)
        der = answer(change(standard_spec(PKI, asked)))
        return Response(der, content_type="application/ocsp-response")

    server = make_server("127.0.0.1", 0, application, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/ocsp"
    finally:
        server.shutdown()
        thread.join(5)
        server.server_close()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "pki").mkdir()
    (tmp_path / "pki" / "root.cer").write_bytes(PKI.root.der)
    (tmp_path / "pki" / "national.cer").write_bytes(PKI.national_ca.der)
    (tmp_path / "pki" / "citizen-ca.cer").write_bytes(PKI.citizen_ca.der)
    (tmp_path / "card.cer").write_bytes(PKI.leaf.der)
    monkeypatch.setattr(ocsp, "now", lambda: NOW)
    return tmp_path


def _ask(folder: Path, url: str, card: str = "card.cer") -> Result:
    settings = DEVELOPMENT_SETTINGS.replace(SETTINGS_URL, url).replace(
        'roots = ["pki/root.cer"]', 'roots = ["pki/root.cer"]\nintermediates = ["pki/national.cer"]'
    )
    switch = "dangerous_development_allow_loopback_responders = true\n"
    (folder / "tamga.toml").write_text(settings + switch)
    arguments = ["--config", str(folder / "tamga.toml"), "ocsp", "query", str(folder / card)]
    return CliRunner().invoke(main, [*arguments, "--json"])


def test_a_certificate_of_a_stranger_is_refused_and_nobody_asked(folder: Path) -> None:
    (folder / "other.cer").write_bytes(PKI.leaf_with(issuer=PKI.national_ca).der)
    done = _ask(folder, "http://127.0.0.1:1/ocsp", "other.cer")
    assert (done.exit_code, json.loads(done.output)["status"]) == (1, "refused")


def test_a_responder_that_is_down_is_told_with_every_attempt(folder: Path) -> None:
    done = _ask(folder, "http://127.0.0.1:1/ocsp")
    assert done.exit_code == 2, done.output
    told = json.loads(done.output)
    assert told["status"] == "unavailable"
    assert len(told["attempts"]) == 2
    assert "ConnectionFailed" in told["attempts"][0]


def test_a_revoked_certificate_is_told(folder: Path) -> None:
    revoked = (SingleSpec(status="revoked"),)
    with responder(lambda spec: replace(spec, singles=revoked)) as url:
        done = _ask(folder, url)
    assert (done.exit_code, json.loads(done.output)["status"]) == (1, "revoked")


def test_a_good_certificate_is_told_with_its_evidence(folder: Path) -> None:
    with responder() as url:
        done = _ask(folder, url)
    assert done.exit_code == 0, done.output
    told = json.loads(done.output)
    assert (told["status"], told["nonce_matched"], told["responder_url"]) == ("good", True, url)
    assert told["this_update"] == "2026-11-15T11:59:58Z"
