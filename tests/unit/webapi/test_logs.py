"""What a log line may not hold, whoever writes it."""

import json
import socket
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webapi.logs import MASK, mask_person_numbers

LETTERS = "АБВГДЕЁЖЗИЙКЛМНОӨПРСТУҮФХЦЧШЩЪЫЬЭЮЯ"
registration_numbers = st.builds(
    lambda letters, digits: letters + digits,
    st.text(LETTERS + LETTERS.lower(), min_size=2, max_size=2),
    st.text("0123456789", min_size=8, max_size=8),
)
nested = st.recursive(
    registration_numbers,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3),
        st.dictionaries(st.text("abc", max_size=3), inner, min_size=1, max_size=3),
        st.tuples(inner, st.integers()),
    ),
)


def masked(value: object) -> str:
    return json.dumps(mask_person_numbers(None, "info", {"value": value}), ensure_ascii=False)


def strings_in(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, int):
        return []
    return [
        s
        for item in (value.values() if isinstance(value, dict) else value)
        for s in strings_in(item)
    ]


@given(nested)
def test_registration_numbers_are_masked_however_deep(value: Any) -> None:
    line = masked(value)
    assert MASK in line
    assert not any(number in line for number in strings_in(value))


@given(registration_numbers, st.text(), st.text())
def test_registration_numbers_are_masked_within_any_text(
    number: str, before: str, after: str
) -> None:
    for form in ("NFC", "NFD"):
        written = unicodedata.normalize(form, number)
        assert written not in str(mask_person_numbers(None, "i", {"v": before + written + after}))


@pytest.mark.parametrize(
    "value",
    [
        "PNOMN-199012310001",
        "subject=pnomn-УБ99112233;",
        "PASS: PNOEE-38001085718",
        "УБ 99112233",
        "у-б-99112233",
        "УБ99112233".encode(),
        {"УБ99112233": 1},
        {"УБ99112233"},
        ValueError("no such person: УБ99112233"),
        Path("/var/УБ99112233/card"),
    ],
)
def test_other_spellings_and_types_are_masked(value: object) -> None:
    line = masked(value)
    assert MASK in line
    assert "99112233" not in line
    assert "199012310001" not in line
    assert "38001085718" not in line


def test_other_values_stay_as_they_are() -> None:
    event = {
        "incident": "0123456789abcdef",
        "count": 7,
        "ok": True,
        "none": None,
        "ratio": 0.5,
        "election_id": "ikh-khural-2028",
        "frames": ["webapi/app.py:12:create_app"],
    }
    assert mask_person_numbers(None, "info", dict(event)) == event


def run(script: str, *arguments: str, status: int = 0) -> list[dict[str, Any]]:
    """The log lines of a script in a process of its own, as the service configures logs."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from webapi.logs import configure_logs\nconfigure_logs()\n" + script,
            *arguments,
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == status, done.stderr
    assert not done.stdout
    return [json.loads(line) for line in done.stderr.splitlines()]


SPEAKING = """
import logging
import structlog
from webapi.logs import configure_logs
configure_logs()
structlog.get_logger().info("from_the_service", filler="x" * 20_000)
logging.getLogger("some.library").warning("from a library")
"""


def test_a_line_is_one_write_so_that_processes_can_share_a_log() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        subprocess.run([sys.executable, "-c", SPEAKING], stderr=theirs.fileno(), check=True)
        theirs.close()
        writes = [ours.recv(100_000), ours.recv(100_000)]
        assert ours.recv(1) == b""
    assert all(written.endswith(b"}\n") and written.count(b"\n") == 1 for written in writes)
    events = [json.loads(written)["event"] for written in writes]
    assert events == ["from_the_service", "library_warning"]


def test_a_library_says_where_it_warned_and_not_what() -> None:
    (line,) = run(
        "import logging\n"
        "try:\n    raise ValueError('УБ99112233')\n"
        "except ValueError:\n"
        "    logging.getLogger('urllib3').warning('to 192.0.2.7: %s', 'x', exc_info=True)\n"
        "logging.getLogger('urllib3').info('nothing')"
    )
    assert (line["event"], line["library"], line["level"]) == (
        "library_warning",
        "urllib3",
        "warning",
    )
    assert line.keys() == {"event", "library", "level", "timestamp", "line"}


def test_a_warning_says_where_it_came_up_and_not_what() -> None:
    (line,) = run("import warnings\nwarnings.warn('a name: УБ99112233', stacklevel=1)")
    assert (line["event"], line["library"]) == ("library_warning", "py.warnings")
    assert line.keys() == {"event", "library", "level", "timestamp", "line"}


@pytest.mark.parametrize(
    "script",
    [
        "raise ValueError('УБ99112233 has 123456')",
        "import threading\nthreading.Thread(target=lambda: int('УБ99112233 has 123456')).start()",
        (
            "from webapi.uncaught import ends_logged\n"
            "with ends_logged():\n    raise ValueError('УБ99112233 has 123456')"
        ),
    ],
)
def test_what_ends_a_process_or_a_thread_is_told_by_class_and_place(script: str) -> None:
    prelude = "from webapi.uncaught import log_uncaught\nlog_uncaught()\n"
    (line,) = run(prelude + script, status=0 if "threading" in script else 1)
    assert (line["event"], line["level"]) == ("uncaught_error", "critical")
    assert [cause["error_class"] for cause in line["causes"]] == ["ValueError"]
    assert line["causes"][0]["frames"]
    assert "123456" not in str(line)


def test_what_python_has_to_ignore_is_told_by_class_and_place() -> None:
    (line,) = run(
        "from webapi.uncaught import log_uncaught\n"
        "log_uncaught()\n"
        "class Half:\n"
        "    def __del__(self):\n"
        "        raise ValueError('УБ99112233 has 123456')\n"
        "Half()\n"
    )
    assert (line["event"], line["level"]) == ("ignored_error", "error")
    assert [cause["error_class"] for cause in line["causes"]] == ["ValueError"]
    assert "123456" not in str(line)


@pytest.mark.parametrize(
    ("script", "explanation"),
    [
        (
            (
                "from webapi.token_keys import ZoneNotConfigured\n"
                "raise ZoneNotConfigured('there is no section for УБ99112233')"
            ),
            f"there is no section for {MASK}",
        ),
        ("open('/no-such-folder/123456')", "No such file or directory"),
        (
            (
                "from webapi.storage.errors import DatabaseUnavailable\n"
                "raise DatabaseUnavailable('postgresql://secret')"
            ),
            None,
        ),
        ("raise KeyboardInterrupt", None),
    ],
)
def test_what_an_operator_must_know_is_said_and_masked(
    script: str, explanation: str | None
) -> None:
    prelude = "from webapi.uncaught import log_uncaught\nlog_uncaught()\n"
    lines = run(prelude + script, status=-2 if "Interrupt" in script else 1)
    assert [line.get("explanation") for line in lines] in ([explanation], [])
    assert bool(lines) is ("Interrupt" not in script)


def test_the_servers_own_lines_are_json_too() -> None:
    (line,) = run(
        "from granian.log import LogLevels, configure_logging\n"
        "from webapi.logs import GRANIAN_LOGS\n"
        "import logging\n"
        "configure_logging(LogLevels.warning, GRANIAN_LOGS)\n"
        "logging.getLogger('_granian').info('Listening')\n"
        "logging.getLogger('_granian').error('Unexpected exit of 192.0.2.7')\n"
    )
    assert (line["event"], line["library"]) == ("library_warning", "_granian")
    assert "192.0.2.7" not in str(line)


LOGIN = """
import sys
from pathlib import Path
import structlog
from tests.support.login import ORIGIN
from tests.support.web import draw, login_body, make_site, send
site = make_site(Path(sys.argv[1]))
client = site.client()
subject = "none"
client.environ_base["REMOTE_ADDR"] = "192.0.2.77"
for _ in range(2):
    body = login_body(draw(client), site.pki.leaf)
    for _ in range(2):
        answer = send(client, "/auth/login", body)
        subject = answer.get_json().get("subject", subject)
for path in (f"/{subject}", f"/auth/{subject}", f"/me?{subject}", f"/elections/{subject}"):
    client.get(path, base_url=ORIGIN)
send(client, "/auth/error", {"code": subject, "versions": {}})
structlog.get_logger().info("proof", subject=subject)
"""


def test_no_line_of_a_login_holds_the_person_or_the_address(tmp_path: Path) -> None:
    lines = run(LOGIN, str(tmp_path))
    assert [line["event"] for line in lines].count("signed_in") == 2
    assert lines[-1]["subject"] == MASK
    text = json.dumps(lines, ensure_ascii=False)
    assert "PNOMN" not in text.upper()
    assert "192.0.2.77" not in text
    assert all(line.get("incident") for line in lines[:-1])


BALLOT = """
import sys
from pathlib import Path
from tests.support.election_site import Site
folder = Path(sys.argv[1])
site = Site(folder, burst=1)
site.client.environ_base["REMOTE_ADDR"] = "192.0.2.77"
site.disk.create()
site.register(0)
site.register(0, content=b"another")
site.fetch(0)
site.fetch(1)
site.client.get("/elections/none")
"""


def test_no_line_of_a_ballot_holds_an_address(tmp_path: Path) -> None:
    lines = run(BALLOT, str(tmp_path))
    assert {line.get("code") for line in lines} >= {"too_many_requests", "submission_not_found"}
    assert "192.0.2.77" not in json.dumps(lines)
