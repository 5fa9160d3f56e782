"""`version`: the release of this command, and those that the members run."""

from stationkeep.node.cli.output import say


def version() -> None:
    """Prints the version of this command. Those of the members: `stationkeep level`."""
    from stationkeep.node.version import VERSION  # noqa: PLC0415 - reads the metadata

    say(f"stationkeep {VERSION}")
