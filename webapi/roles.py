"""Starts the process of one role: `python -m webapi.roles web|worker|ocsp|metrics`.

What a role does is in `webapi.role_servers`.
"""

import gc
import sys

from webapi.loading import loading


def main(arguments: list[str]) -> None:
    """Load what the roles are made of, then be the one that is named."""
    with loading():
        from webapi.role_servers import main as be_role  # noqa: PLC0415 - nothing is collected here
    # What is loaded stays: no collection looks at it again, and forks share its pages.
    gc.freeze()
    be_role(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
