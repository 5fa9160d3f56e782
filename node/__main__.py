"""`stationkeep` and `python -m stationkeep`: a node, or the command line."""

import sys

from stationkeep.node.runtime import lean


def main() -> None:
    """Entry point of both."""
    code = lean.run_node(sys.argv[1:])
    if code is not None:
        sys.exit(code)
    from stationkeep.node.cli.main import main as command_line  # noqa: PLC0415 - a node needs none of it

    command_line()


if __name__ == "__main__":
    main()
