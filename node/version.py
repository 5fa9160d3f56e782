"""The release this process runs."""

from importlib.metadata import version

VERSION = version("stationkeep")
