"""The outside of the namespaces, without making any; the inside runs in tests/tokens."""

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from softhsm_config.errors import (
    CardCommandRefused,
    IsolationUnavailable,
    ProgramMissing,
    ReaderFailed,
)
from softhsm_config.modules import opensc_module, softhsm_module, ykcs11_module
from softhsm_config.virtual_card import __main__ as command_line
from softhsm_config.virtual_card import isolation, reader, runner
from softhsm_config.virtual_card.reader import VirtualReader
from softhsm_config.virtual_card.runner import PcscService, RuntimeLayout


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """Records every command instead of running it; all fail."""
    seen: list[Sequence[str]] = []

    def run(command: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        seen.append(command)
        return subprocess.CompletedProcess(command, 1, stdout="", stderr="not here\n")

    monkeypatch.setattr("softhsm_config.virtual_card.isolation.subprocess.run", run)
    return seen


def accept(monkeypatch: pytest.MonkeyPatch, first_word: str, second_word: str) -> None:
    def run(command: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        fits = command[0] == first_word and second_word in command
        return subprocess.CompletedProcess(command, 0 if fits else 1, stdout="", stderr="")

    monkeypatch.setattr("softhsm_config.virtual_card.isolation.subprocess.run", run)


def install(monkeypatch: pytest.MonkeyPatch, *programs: str) -> None:
    monkeypatch.setattr(
        "softhsm_config.virtual_card.isolation.shutil.which",
        lambda name: f"/usr/bin/{name}" if Path(name).name in programs else None,
    )


@pytest.mark.parametrize(
    ("installed", "package"), [(("pcscd",), "util-linux"), (("unshare",), "pcscd")]
)
def test_missing_programs_are_named(
    monkeypatch: pytest.MonkeyPatch, installed: tuple[str, ...], package: str
) -> None:
    install(monkeypatch, *installed)
    with pytest.raises(ProgramMissing) as caught:
        isolation.launcher(allow_sudo=False)
    assert caught.value.package == package


@pytest.mark.parametrize("allow_sudo", [True, False])
def test_a_machine_without_namespaces_is_told(
    monkeypatch: pytest.MonkeyPatch, commands: list[Sequence[str]], allow_sudo: bool
) -> None:
    install(monkeypatch, "unshare", "pcscd", "sudo")
    monkeypatch.setattr("softhsm_config.virtual_card.isolation.os.geteuid", lambda: 1000)
    with pytest.raises(IsolationUnavailable, match="SYS_ADMIN"):
        isolation.launcher(allow_sudo=allow_sudo)
    assert any(command[0] == "sudo" for command in commands) is allow_sudo


@pytest.mark.parametrize(
    ("user", "works", "prefix"),
    [
        (0, ("unshare", "mount"), ("unshare", "--net")),
        (0, ("unshare", "--map-root-user"), ("unshare", "--map-root-user")),
        (1000, ("unshare", "mount"), ("unshare", "--map-root-user")),
        (1000, ("sudo", "mount"), ("sudo", "-n")),
    ],
)
def test_the_least_privilege_that_works_is_used(
    monkeypatch: pytest.MonkeyPatch,
    user: int,
    works: tuple[str, str],
    prefix: tuple[str, str],
) -> None:
    install(monkeypatch, "unshare", "pcscd", "sudo")
    monkeypatch.setattr("softhsm_config.virtual_card.isolation.os.geteuid", lambda: user)
    accept(monkeypatch, *works)
    assert isolation.launcher(allow_sudo=True)[:2] == prefix


def test_a_failing_mount_is_told(
    commands: list[Sequence[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "PCSCD_SOCKETS", tmp_path)
    with pytest.raises(ReaderFailed, match="not here"):
        isolation.hide_the_machine(tmp_path / "a", tmp_path / "b")


def test_our_directory_is_not_hidden_by_our_own_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(isolation, "PCSCD_SOCKETS", tmp_path / "missing")
    with pytest.raises(ReaderFailed, match="lies in /run too"):
        isolation.hide_the_machine(Path("/run/user/1000/tamga-x/pcscd"), tmp_path)


def test_a_socket_directory_that_exists_is_covered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted: list[Sequence[str]] = []

    def run(command: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        mounted.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="", stderr="")

    monkeypatch.setattr("softhsm_config.virtual_card.isolation.subprocess.run", run)
    monkeypatch.setattr(isolation, "PCSCD_SOCKETS", tmp_path)
    isolation.hide_the_machine(tmp_path / "a", tmp_path / "b")
    assert [command[-1] for command in mounted] == [str(tmp_path), str(isolation.DRIVERS)]


def test_a_missing_driver_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "VPCD_DRIVER", tmp_path / "libifdvpcd.so")
    with pytest.raises(ProgramMissing, match="vsmartcard-vpcd"):
        isolation.copy_driver(tmp_path / "copy")


@pytest.mark.parametrize(("usage", "asked"), [("--disable-polkit", True), ("--foreground", False)])
def test_polkit_is_switched_off_where_it_can_be(
    monkeypatch: pytest.MonkeyPatch, usage: str, asked: bool
) -> None:
    def run(command: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0, stdout=usage, stderr="")

    monkeypatch.setattr("softhsm_config.virtual_card.isolation.subprocess.run", run)
    assert ("--disable-polkit" in isolation.pcscd_command(Path("/x"))) is asked


@pytest.mark.parametrize(("owner", "given_up"), [(1000, True), (0, False)])
def test_root_is_given_up_for_the_person_behind_sudo(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, owner: int, given_up: bool
) -> None:
    calls: list[str] = []

    class Library:
        def prctl(self, *arguments: int) -> None:
            calls.append(f"prctl{tuple(map(int, arguments))}")

    monkeypatch.setattr("softhsm_config.virtual_card.isolation.ctypes.CDLL", lambda _: Library())
    state = os.stat_result((0o40700, 0, 0, 0, owner, owner, 0, 0, 0, 0))
    monkeypatch.setattr(Path, "stat", lambda _: state)
    monkeypatch.setattr("softhsm_config.virtual_card.isolation.os.geteuid", lambda: 0)
    for name in ("setgroups", "setgid", "setuid"):
        monkeypatch.setattr(
            f"softhsm_config.virtual_card.isolation.os.{name}", lambda _, n=name: calls.append(n)
        )
    isolation.become_owner_of(tmp_path)
    assert calls == (["setgroups", "setgid", "setuid", "prctl(1, 9)"] if given_up else [])


def test_loopback_can_be_raised_where_it_is_up_already(socket_enabled: None) -> None:
    if os.geteuid():
        with pytest.raises(PermissionError):
            isolation.raise_loopback()
    else:
        isolation.raise_loopback()


def test_modules_are_found_and_their_absence_is_named(tmp_path: Path) -> None:
    assert softhsm_module().name == "libsofthsm2.so"
    assert opensc_module().name == "opensc-pkcs11.so"
    assert ykcs11_module().name == "libykcs11.so.2"
    with pytest.raises(ProgramMissing, match="softhsm2"):
        softhsm_module(tmp_path)
    found = tmp_path / "lib" / "aarch64-linux-gnu" / "opensc-pkcs11.so"
    found.parent.mkdir(parents=True)
    found.touch()
    assert opensc_module(tmp_path) == found


def test_a_runner_that_cannot_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise PermissionError("no such right")

    monkeypatch.setattr("softhsm_config.virtual_card.isolation.raise_loopback", refuse)
    arguments = ["--runtime", str(tmp_path), "--image", str(tmp_path)]
    assert command_line.main(arguments) == 1
    assert capsys.readouterr().out == '{"failed": "no such right"}\n'


def program(text: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE)


def test_the_runner_ends_when_pcscd_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    with program("pass") as ended, os.fdopen(read_end) as parent:
        monkeypatch.setattr(runner, "_pcscd", lambda _: ended)
        service = PcscService(RuntimeLayout(tmp_path))
        assert service.wait(parent) == 1
        service.end()
    os.close(write_end)


def test_pcscd_that_cannot_be_ended_is_not_begun_anew(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(runner, "_pcscd", lambda _: None)
    monkeypatch.setattr(runner, "_end", lambda _: False)
    with pytest.raises(CardCommandRefused):
        PcscService(RuntimeLayout(tmp_path)).restart()


def test_pcscd_is_ended_also_when_it_does_not_want_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_STOP_SECONDS", 0.1)
    deaf = (
        "import signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('deaf', flush=True)\n"
        "time.sleep(60)\n"
    )
    with program(deaf) as process:
        assert process.stdout is not None
        process.stdout.readline()
        runner._end(process)
        assert process.returncode == -9


def test_pcscd_of_root_is_left_to_the_process_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    with program("pass") as process, monkeypatch.context() as patch:

        def refuse() -> None:
            raise PermissionError

        patch.setattr(process, "terminate", refuse)
        runner._end(process)


def test_a_trace_is_written_line_by_line(tmp_path: Path) -> None:
    layout = RuntimeLayout(tmp_path)
    with ExitStack() as stack:
        runner._trace_to(stack, layout)("> 00")
        assert layout.trace.read_text() == "> 00\n"
    runner._no_trace("nothing")


def test_a_missing_opensc_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("softhsm_config.virtual_card.reader.shutil.which", lambda _: None)
    with pytest.raises(ProgramMissing, match="opensc"):
        VirtualReader(tmp_path).start()


def reader_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, wait_seconds: float = 20.0
) -> VirtualReader:
    """A reader whose runner is a small program instead."""
    monkeypatch.setattr(
        "softhsm_config.virtual_card.isolation.launcher",
        lambda **_: (sys.executable, "-c", text),
    )
    return VirtualReader(tmp_path, wait_seconds=wait_seconds)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("import sys; sys.exit('it broke')", "ended: it broke"),
        ("""print('{"failed": "no card"}')""", "no card"),
    ],
)
def test_a_runner_that_fails_is_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, told: str
) -> None:
    with pytest.raises(ReaderFailed, match=told):
        reader_of(monkeypatch, tmp_path, text).start()


def test_a_card_that_nobody_sees_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(reader, "_card_column", lambda _: "No")
    text = """import sys; print('{"ready": true}', flush=True); sys.stdin.read()"""
    with pytest.raises(ReaderFailed, match="polkit"):
        reader_of(monkeypatch, tmp_path, text, wait_seconds=0.1).start()


def test_a_runner_that_does_not_end_is_killed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reader, "_STOP_SECONDS", 0.1)
    monkeypatch.setattr(reader, "_card_column", lambda _: "Yes")
    text = """import time; print('{"ready": true}', flush=True); time.sleep(60)"""
    running = reader_of(monkeypatch, tmp_path, text)
    running.start()
    process = running._process
    assert process is not None
    running.stop()
    assert process.returncode == -9


def test_a_path_too_long_for_sockets_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with pytest.raises(ReaderFailed, match="TMPDIR"):
        reader_of(monkeypatch, tmp_path, "").start()
    assert not list(long.iterdir())


def test_no_reader_in_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    listing = "No smart card readers found.\n"

    def run(command: Sequence[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0, stdout=listing, stderr="")

    monkeypatch.setattr("softhsm_config.virtual_card.reader.subprocess.run", run)
    assert reader._card_column({}) is None
