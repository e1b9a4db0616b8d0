"""A server for one connection that does as it is told."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def listener(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """A one-connection server on a loopback port that treats its client as `serve` says."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                try:
                    serve(connection)
                except OSError:
                    return

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        # Closing does not wake accept() up; a connection does.
        with socket.socket() as waker:
            waker.connect_ex(server.getsockname())
        thread.join(5)
