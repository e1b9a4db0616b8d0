"""Judging in a process that can be ended: late, broken and gone workers; then verdicts."""

import fcntl
import os
import resource
import signal
import sys
from collections.abc import Iterator
from datetime import timedelta

import pytest
from cryptography import x509

from ocsp.certificate import read_certificate
from ocsp.chain import validate_path
from ocsp.config import TrustStore
from ocsp.errors import PathMember
from ocsp.path_judging import Finding, PathQuestion, PathVerdict, PolicyInputs, judge_path
from ocsp.path_message import question_of, question_text, verdict_of, verdict_text
from ocsp.path_process import JudgeProcess
from tests.support.certificates import (
    CITIZEN_POLICY,
    NOW,
    authority_spec,
    development_like_pki,
    issue,
)

PKI = development_like_pki()
CHAIN = (PKI.leaf.der, PKI.citizen_ca.der, PKI.national_ca.der, PKI.root.der)
QUESTION = PathQuestion(CHAIN, PolicyInputs(frozenset({CITIZEN_POLICY})), NOW)
READY = "print('ready', flush=True); "
SECONDS = 60.0


def worker(script: str) -> JudgeProcess:
    return JudgeProcess((sys.executable, "-c", script), start_seconds=SECONDS)


@pytest.fixture(scope="module")
def judge() -> Iterator[JudgeProcess]:
    process = JudgeProcess()
    yield process
    process.close()


def pid_of(judge: JudgeProcess) -> int:
    assert judge._process is not None
    return judge._process.pid


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_judgement_that_does_not_end_is_ended() -> None:
    judge = worker(READY + "import time; input(); time.sleep(600)")
    judge.start()
    pid = pid_of(judge)
    verdict = judge(QUESTION, 0.2)
    assert verdict.finding is Finding.UNDECIDED
    assert "too long" in verdict.text
    assert not is_alive(pid)


def test_the_worker_ends_itself_when_its_time_is_up() -> None:
    from subprocess import PIPE, Popen

    with Popen([sys.executable, "-m", "ocsp.path_worker"], stdin=PIPE, stdout=PIPE) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        process.stdin.write(question_text(QUESTION, 0.0001).encode() + b"\n")
        process.stdin.flush()
        assert process.wait(SECONDS) == -signal.SIGALRM


@pytest.mark.parametrize(
    "script",
    [
        READY + "input()",  # ends without a word
        READY + "input(); print('{}', flush=True); input()",
        READY + "input(); print('x' * 100_000, flush=True); input()",
        "print('steady', flush=True); input()",
        "raise SystemExit(1)",
    ],
)
def test_a_worker_that_breaks_is_undecided(script: str) -> None:
    judge = worker(script)
    verdict = judge(QUESTION, SECONDS)
    assert verdict.finding is Finding.UNDECIDED
    assert "broke" in verdict.text
    assert judge._process is None


def test_a_verdict_that_was_left_in_the_pipe_decides_nothing() -> None:
    judge = JudgeProcess()
    try:
        assert judge(QUESTION, SECONDS).finding is Finding.VALID
        # As if whoever asked had gone before the verdict came.
        process = judge._process
        assert process is not None
        assert process.stdin is not None
        process.stdin.write(question_text(QUESTION, SECONDS).encode() + b"\n")
        process.stdin.flush()
        other = PathQuestion(CHAIN, PolicyInputs(frozenset({"1.2.3"})), NOW + timedelta(days=400))
        assert judge(other, SECONDS).finding is Finding.UNDECIDED
        assert not is_alive(process.pid)
        assert judge(other, SECONDS).finding is Finding.EXPIRED
    finally:
        judge.close()


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2_048), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
def test_a_process_with_many_open_files_is_answered() -> None:
    judge = JudgeProcess()
    try:
        assert judge(QUESTION, SECONDS).finding is Finding.VALID
        process = judge._process
        assert process is not None
        assert process.stdout is not None
        high = fcntl.fcntl(process.stdout.fileno(), fcntl.F_DUPFD_CLOEXEC, 1_100)
        process.stdout.close()
        process.stdout = os.fdopen(high, "rb")
        assert judge(QUESTION, SECONDS).finding is Finding.VALID
    finally:
        judge.close()


def test_a_worker_that_was_killed_is_replaced(judge: JudgeProcess) -> None:
    assert judge(QUESTION, SECONDS).finding is Finding.VALID
    before = pid_of(judge)
    os.kill(before, signal.SIGKILL)
    assert judge(QUESTION, SECONDS).finding is Finding.UNDECIDED
    assert judge(QUESTION, SECONDS).finding is Finding.VALID
    assert pid_of(judge) != before


def test_a_worker_of_the_process_before_a_fork_is_left_alone() -> None:
    judge = worker(READY + "input()")
    judge.start()
    pid, judge._owner = pid_of(judge), 1  # as after a fork: it was another process that started it
    kept = judge._process
    judge.close()
    assert is_alive(pid)
    assert kept is not None
    judge._process, judge._owner = kept, os.getpid()
    judge.close()
    assert not is_alive(pid)


def test_the_process_says_what_the_library_says_here(judge: JudgeProcess) -> None:
    short = PathQuestion((PKI.leaf.der, PKI.root.der), QUESTION.policies, NOW)
    late = PathQuestion(CHAIN, QUESTION.policies, NOW + timedelta(days=400))
    other = PathQuestion(CHAIN, PolicyInputs(frozenset({"1.2.3"})), NOW)
    for question in (QUESTION, short, late, other):
        # National and citizen CA pass any policy on.
        assert judge(question, SECONDS) == judge_path(question)
    assert judge(late, SECONDS).finding is Finding.EXPIRED


def test_a_store_decides_through_the_process(judge: JudgeProcess) -> None:
    from tests.support.trust import citizen_profile

    store = TrustStore(
        roots=(PKI.root.der,),
        intermediates=(PKI.national_ca.der,),
        issuers=(citizen_profile(PKI),),
        judge=judge,
        path_budget=timedelta(seconds=SECONDS),
    )
    assert validate_path(PKI.leaf.der, store, NOW).at == NOW


def test_huge_name_constraints_are_answered(judge: JudgeProcess) -> None:
    subtrees = [x509.DNSName(f"x{n}.example.mn") for n in range(700)]
    constraints = x509.NameConstraints(permitted_subtrees=subtrees, excluded_subtrees=None)
    from dataclasses import replace

    spec = authority_spec("Test Citizen CA", PKI.national_ca)
    citizen_ca = issue(replace(spec, more_extensions=((constraints, True),)))
    names = x509.SubjectAlternativeName([x509.DNSName(f"x{n}.example.mn") for n in range(700)])
    leaf = PKI.leaf_with(more_extensions=((names, False),))
    assert len(read_certificate(leaf.der).der) > 10_000
    question = PathQuestion(
        (leaf.der, citizen_ca.der, PKI.national_ca.der, PKI.root.der), QUESTION.policies, NOW
    )
    verdict = judge(question, SECONDS)
    assert verdict.finding in {Finding.VALID, Finding.UNDECIDED}


def test_questions_and_verdicts_survive_the_pipe() -> None:
    import json

    assert question_of(json.loads(question_text(QUESTION, 1.0))) == QUESTION
    for verdict in (
        PathVerdict(Finding.VALID),
        PathVerdict(Finding.EXPIRED, "late", PathMember.USER, NOW),
    ):
        assert verdict_of(verdict_text(verdict, "asked"), "asked") == verdict
        with pytest.raises(ValueError, match="another question"):
            verdict_of(verdict_text(verdict, "asked"), "asked later")
