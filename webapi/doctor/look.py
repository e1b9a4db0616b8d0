"""Starts the process that looks at a zone's tokens: `python -m webapi.doctor.look ZONE PARENT`."""

import sys

from webapi.loading import loading


def main(arguments: list[str]) -> None:
    """Load what it takes, then look."""
    with loading():
        from webapi.doctor.zone import main as look  # noqa: PLC0415 - nothing is collected here
    look(arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
