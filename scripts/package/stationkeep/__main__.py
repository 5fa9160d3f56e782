"""`python -m stationkeep`: the same as the command `stationkeep`."""

from stationkeep.node.__main__ import main

if __name__ == "__main__":
    main()
