"""The runner of checks: no check stops the others, and none shows a secret."""

import json
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta

import pytest

from webapi.operations.checks import Check, CheckBroken, CheckResult, CheckState, run_check

FIRST = CheckResult.ok("first", "it is there")
LIMIT = timedelta(seconds=5)


def results(
    look: Iterable[CheckResult], *names: str, limit: timedelta = LIMIT
) -> list[CheckResult]:
    return list(run_check(Check(names, lambda: look, limit, "call somebody")))


def breaking(error: Exception) -> Iterator[CheckResult]:
    yield FIRST
    raise error


@pytest.mark.parametrize("state", [CheckState.WARNING, CheckState.FAILED])
def test_what_is_wrong_has_a_remedy(state: CheckState) -> None:
    with pytest.raises(ValueError, match="remedy"):
        CheckResult("name", state, "it is gone")


@pytest.mark.parametrize("state", [CheckState.OK, CheckState.SKIPPED])
def test_what_is_well_has_none(state: CheckState) -> None:
    with pytest.raises(ValueError, match="remedy"):
        CheckResult("name", state, "it is there", "mend it")


def test_an_unexpected_exception_is_a_failure_named_by_its_class_alone() -> None:
    found = results(breaking(OSError("the PIN is 123456")), "first", "second", "third")
    assert found == [
        FIRST,
        CheckResult.failed("second", "the check ended in OSError", "call somebody"),
        CheckResult.skipped("third", "not looked at, because of second"),
    ]


def test_a_check_that_raises_at_once_fails() -> None:
    def look() -> Iterable[CheckResult]:
        raise ZeroDivisionError

    (found,) = run_check(Check(("only",), look, LIMIT, "call somebody"))
    assert (found.name, found.seen) == ("only", "the check ended in ZeroDivisionError")


def test_an_exception_after_the_last_result_is_not_lost() -> None:
    found = results(breaking(CheckBroken("the process that looked failed")), "first")
    assert found[0] == FIRST
    assert (found[1].name, found[1].seen) == ("first", "the process that looked failed")


def test_a_check_that_hangs_is_left_behind_with_what_it_told() -> None:
    release = threading.Event()

    def hanging() -> Iterator[CheckResult]:
        yield FIRST
        release.wait(60)

    began = time.monotonic()
    try:
        limit = timedelta(seconds=2)
        found = results(hanging(), "first", "second", "third", limit=limit)
    finally:
        release.set()
    assert time.monotonic() - began < 30
    assert [(result.name, result.state) for result in found] == [
        ("first", CheckState.OK),
        ("second", CheckState.FAILED),
        ("third", CheckState.SKIPPED),
    ]
    assert found[1].seen == "no answer within 2 s"


def test_what_was_not_reached_is_skipped_and_says_why() -> None:
    failed = CheckResult.failed("first", "it is gone", "bring it back")
    assert results([failed], "first", "second") == [
        failed,
        CheckResult.skipped("second", "not looked at, because of first"),
    ]
    assert results([FIRST], "first", "second")[1].seen == "not looked at"


def test_members_go_and_come_back() -> None:
    warning = CheckResult.warning("disk", "little is left", "make room")
    assert CheckResult.of_members(warning.members()) == warning
    assert "table" not in warning.members()
    rows = [{"algorithm": "ES256", "keys": "ec-p256"}, {"algorithm": "PS256", "keys": "-"}]
    with_table = CheckResult.ok("algorithms", "it signs with ES256", rows)
    assert with_table.members()["table"] == tuple(rows)
    assert CheckResult.of_members(json.loads(json.dumps(with_table.members()))) == with_table
    with pytest.raises(ValueError, match="perhaps"):
        CheckResult.of_members({**warning.members(), "state": "perhaps"})
