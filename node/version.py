"""The release this process runs."""

from importlib.metadata import version

VERSION = version("stationkeep")
RELEASED = 1_795_996_800
"""2026-11-30 in seconds since 1970, raised with each release: no right clock shows less."""
