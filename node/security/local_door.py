"""The administrator of a node's own machine: whoever can read what its user alone can read.

The first token has to come from somebody who has none, and so has the next one when all are lost.
Who can read the data directory can write into it, and so could do anything already: a token in it
that is good for this node alone gives nobody more than they have. It is drawn anew at each start,
and is no part of the state. Source: guide/access.md, "The first token".
"""

from pathlib import Path

from stationkeep.cluster.state.state import Access, Token
from stationkeep.node.security.tokens import draw
from stationkeep.node.system.small_file import SmallFile

NAME = "local-admin"
"""Of the file in the data directory, and of whoever uses it."""


def open_local_door(data_dir: Path) -> Token:
    """Writes a new token to its file, which its owner alone can read; what proves it. Raises
    OSError."""
    shown = draw()
    SmallFile(data_dir / NAME).save(shown.text.encode())
    return Token(shown.id, NAME, Access.ADMIN, shown.hash, 0, 0, NAME)


def local_token(data_dir: Path) -> str | None:
    """The token in a node's data directory; None if there is none. Raises OSError when it cannot be
    read, as by anybody else than the user of the node."""
    content = SmallFile(data_dir / NAME).load()
    return None if content is None else content.decode("ascii", "replace")
