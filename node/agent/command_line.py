"""Commands as operators write them for an agent: words, and no shell to read them."""

import shlex
import shutil


def parsed(line: str) -> list[str]:
    """The words of a command line, split as a shell would. Raises ValueError when it names no
    program that there is."""
    try:
        argv = shlex.split(line)
    except ValueError as error:
        raise ValueError(f"{line!r} refused: a quotation without an end") from error
    if not argv or shutil.which(argv[0]) is None:
        raise ValueError(f"{line!r} refused: its first word must be a program")
    return argv
