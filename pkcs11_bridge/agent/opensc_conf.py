"""OpenSC, told to reset the card when it lets go of it.

By default OpenSC leaves a card's PIN verified for every other program on the computer, even after
C_Finalize; with ``disconnect_action = reset`` it does not.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "OPENSC_CONF"
CONTENT = "app default {\n    reader_driver pcsc {\n        disconnect_action = reset;\n    }\n}\n"


@contextmanager
def reset_on_disconnect() -> Iterator[None]:
    """Set OPENSC_CONF to a private file for the block, before the module is loaded in it.

    A variable that somebody set already is left alone: the agent also resets the card itself.
    """
    if VARIABLE in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="tamga-agent-") as directory:
        path = Path(directory) / "opensc.conf"
        path.write_text(CONTENT, encoding="ascii")
        os.environ[VARIABLE] = str(path)
        try:
            yield
        finally:
            del os.environ[VARIABLE]
