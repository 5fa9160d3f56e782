"""Certificates for tests, made by our own code when they are needed."""

import datetime as dt
import time
from functools import cache
from pathlib import Path

from stationkeep.node.security import certificates as made
from stationkeep.node.security.certificates import Authority
from stationkeep.node.security.contexts import Contexts, Files
from stationkeep.node.security.identity import Identity

DAY = 86_400.0


def at(days: float) -> dt.datetime:
    """So many days from now."""
    return dt.datetime.fromtimestamp(int(time.time() + days * DAY), dt.UTC)


@cache
def authority(cluster: str = "c") -> Authority:
    """One CA a name; of years ago, so that it can have issued what has expired since."""
    return made.new_authority(cluster, at(-2_000))


def files(
    directory: Path, name: str, ca: Authority | None = None, ends: float = 60, **changes: str
) -> Files:
    """A node's files, in a directory of its own. `ends`: the days that its certificate has left;
    `changes`: to the identity in it."""
    ca = ca or authority()
    directory.mkdir(parents=True, exist_ok=True)
    identity = Identity(ca.uid, "node", name)._replace(**changes)
    key = made.new_key()
    certificate = made.issue(ca, identity, key.public_key(), at(ends - 90))
    pair = directory / "node.pem"
    made.write(directory / "ca.pem", made.public_pem([ca.certificate]), made.PUBLIC)
    made.write(pair, made.private_pem(key) + made.public_pem([certificate]), made.PRIVATE)
    return Files(directory / "ca.pem", pair, pair)


def contexts(directory: Path, name: str, **more: object) -> Contexts:
    return Contexts(files(directory / name, name, **more), name)  # type: ignore[arg-type]
