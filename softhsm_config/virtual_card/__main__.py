"""`python -m softhsm_config.virtual_card`: the process that VirtualReader starts."""

import argparse
import sys
from pathlib import Path

from softhsm_config.virtual_card.runner import run


def main(arguments: list[str]) -> int:
    """Parse the command line and run the card."""
    parser = argparse.ArgumentParser(prog="softhsm_config.virtual_card", description=__doc__)
    parser.add_argument("--runtime", type=Path, required=True, help="prepared directory")
    parser.add_argument("--image", type=Path, required=True, help="card image")
    parser.add_argument("--trace", action="store_true", help="write APDUs to trace.log")
    options = parser.parse_args(arguments)
    return run(options.runtime, options.image, traced=options.trace)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
