"""A pooled session in the hands of a test, as long as it likes."""

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

from pkcs11_bridge.login import PooledSession
from pkcs11_bridge.session import TokenSessions


@contextmanager
def held_session(sessions: TokenSessions) -> Iterator[PooledSession]:
    """A session whose place is taken until the block ends.

    An error of the block is raised in the place's task, as if the call had failed, and leaves as
    the sessions tell it.
    """
    given: Future[PooledSession] = Future()
    over = threading.Event()
    failed: list[BaseException] = []

    def hold(pooled: PooledSession) -> None:
        given.set_result(pooled)
        over.wait()
        if failed:
            raise failed[0]

    def begin() -> None:
        try:
            sessions.perform(hold)
        except BaseException as error:
            if not given.done():
                given.set_exception(error)
            raise

    with ThreadPoolExecutor(1) as holder:
        held = holder.submit(begin)
        pooled = given.result()
        try:
            yield pooled
        except BaseException as error:
            failed.append(error)
            over.set()
            held.result()
            raise
        over.set()
        held.result()
