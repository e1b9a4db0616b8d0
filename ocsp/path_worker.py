"""The other end of `path_process.JudgeProcess`: judges the paths that come in, one after the other.

Run as `python -m ocsp.path_worker`. It ends when its input ends, that is with its parent, and when
one judgement takes longer than the question allows: the kernel's alarm needs no cooperation of the
library's.
"""

import json
import resource
import signal
import sys

from ocsp.path_judging import judge_path
from ocsp.path_message import READY, question_of, verdict_text

MAX_MEMORY_BYTES = 1 << 30
"""Address space of the worker; a hostile path cannot have more."""


def main() -> None:
    """Answer lines with lines until the input ends."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    _answer(READY)
    for line in sys.stdin:
        message = json.loads(line)
        signal.setitimer(signal.ITIMER_REAL, message["seconds"])
        text = verdict_text(judge_path(question_of(message)), line.rstrip("\n"))
        signal.setitimer(signal.ITIMER_REAL, 0)
        _answer(text)


def _answer(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
