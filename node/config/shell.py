"""Finds obvious mistakes in an operator's shell command without running it.

Only the first program of the first simple command is checked. What only the shell can resolve
(`$HOOK`, `cd … &&`, a function, a PATH set by the command, a redirection before the program, a
here-document) is not checked.
"""

import os
import re
import shlex
import shutil
from pathlib import Path

MAX_COMMAND = 4_096
"""Characters of a command."""
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=.*", re.DOTALL)
_WORKED_OUT = re.compile(r"[$`*?\[~{}()<>|&;!]|\A\d+\Z|\APATH=")
_CONTINUED = "\\\n"
_SHELLS_OWN = frozenset({
    ".", ":", "[", "alias", "bg", "break", "case", "cd", "command", "continue", "echo", "eval",
    "exec", "exit", "export", "false", "fg", "for", "getopts", "hash", "if", "jobs", "kill",
    "local", "printf", "pwd", "read", "readonly", "return", "set", "shift", "test", "times",
    "trap", "true", "type", "ulimit", "umask", "unalias", "unset", "until", "wait", "while",
})  # fmt: skip
"""Builtins and reserved words of a POSIX shell with which a command can begin."""


def _decides(word: str) -> bool:
    """Whether this word determines what runs: it is not an assignment, or it assigns PATH."""
    return word.startswith("PATH=") or not _ASSIGNMENT.fullmatch(word)


def command_fault(command: str) -> str | None:
    """The rule that a command breaks; None if no mistake was found."""
    if "<<" in command:
        return None
    try:
        lexer = shlex.shlex(command.replace(_CONTINUED, ""), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError as error:
        return f"a command that the shell can read ({error})"
    program = next((word for word in words if _decides(word)), None)
    if program is None or program in _SHELLS_OWN or _WORKED_OUT.search(program):
        return None
    if "/" not in program:
        found = shutil.which(program) is not None
        return None if found else f"a command that exists: there is no {program!r} on the PATH"
    if not Path(program).is_file():
        return f"a command that exists: there is no file {program!r}"
    if not os.access(program, os.X_OK):
        return f"a command that can be run: {program!r} is not executable"
    return None
