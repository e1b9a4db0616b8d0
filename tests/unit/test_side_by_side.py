"""What the end of a run of the whole suite says, from what pytest said."""

from collections import Counter
from pathlib import Path

import pytest

from tests.support.side_by_side import Part, parts, summarise

NOTED = [
    "tests/unit/test_a.py .F.s                                               [100%]",
    "E       AssertionError: FAILED tests/unit/test_b.py::test_of_a_log",
    "FAILED tests/unit/test_a.py::test_one[a-1] - assert 0",
    "ERROR tests/unit/test_a.py::test_two",
    "FAILED: no signature by libsofthsm2",
    "====== 1 failed, 2 passed, 1 skipped, 3 deselected, 1 error in 1.50s (0:00:01) ======",
]


def noted(name: str, *lines: str, code: int = 0) -> Part:
    part = Part(name, [], code=code)
    for line in lines:
        part.note(line)
    return part


def test_failures_of_every_part_come_last_and_are_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ran = [
        noted("units", *NOTED, code=1),
        noted("flows", "====== 5 passed in 2.00s ======"),
        noted("faults", "ERROR: file or directory not found: tests/faults", code=4),
    ]
    capsys.readouterr()
    summarise(ran)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "==== summary ====",
        "FAILED tests/unit/test_a.py::test_one[a-1] - assert 0",
        "ERROR tests/unit/test_a.py::test_two",
        "FAILED: no signature by libsofthsm2",
        "ERROR: file or directory not found: tests/faults",
        "   units | 1 failed, 2 passed, 1 skipped, 3 deselected, 1 error in 1.50s (0:00:01)",
        "   flows | 5 passed in 2.00s",
        "  faults | ended with 4 before its end",
        "7 passed, 2 failed, 1 skipped",
    ]


def test_each_test_file_is_in_exactly_one_part() -> None:
    run: Counter[Path] = Counter()
    for part in parts():
        folders = [Path(path) for path in part.paths if not path.startswith("--ignore=")]
        ignored = [p.removeprefix("--ignore=") for p in part.paths if p.startswith("--")]
        for path in folders:
            found = path.rglob("test_*.py") if path.is_dir() else [path]
            run.update(f for f in found if not any(f.is_relative_to(folder) for folder in ignored))
    assert run == Counter(Path("tests").rglob("test_*.py"))
