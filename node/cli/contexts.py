"""Clusters that the command line knows, and the token for each, in one file of the user's.

Which node is asked is said by an option, else by the environment, else by a context. A token goes
to the address of its own context, and elsewhere only where somebody says so; never in plain text
off this machine. Addresses that a node tells, or that lie about in a directory, are nobody's word
(`node.security.credentials`).
"""

import json
import os
import tomllib
from pathlib import Path
from typing import NamedTuple

from stationkeep.cluster.names import NAME_RULE, name_fault
from stationkeep.cluster.suggestion import unknown
from stationkeep.node.cli.failures import CommandError, UsageError
from stationkeep.node.client.exchange import DEFAULT_URL
from stationkeep.node.local.manifest import http_addresses
from stationkeep.node.security import trust
from stationkeep.node.security.credentials import PLAIN_RULE, VARIABLE, Credentials
from stationkeep.node.security.tokens import TokenFault, parse
from stationkeep.node.system.addresses import crosses_in_clear, origin_of, split_url
from stationkeep.node.system.operator_files import private_directory, read_small, regular
from stationkeep.node.system.small_file import SmallFile

MOST_CONTEXTS = 100
MOST_OTHERS = 99
MOST_BYTES = 1 << 20
_chosen: str | None = None
"""What `--context` says."""


class Context(NamedTuple):
    """An address of a cluster, the token for it, a copy of its CA's certificates as a file, and
    where the other members were when this was kept."""

    url: str
    token: str
    ca: str = ""
    others: tuple[str, ...] = ()


class Contexts(NamedTuple):
    """All that are known. `current`: the one that is used when nothing else is said."""

    known: dict[str, Context]
    current: str = ""


class Access(NamedTuple):
    """Whom to ask (None: whom one asks without a context), and what to show. `told`: whom to ask if
    nobody is there, by what a node said at the login."""

    url: str | None
    token: str
    told: tuple[str, ...] = ()

    @property
    def others(self) -> list[str]:
        """Those of whom were told that may be shown the token."""
        allowed = self.credentials.may_go
        return [url for url in self.told if allowed(url)]

    def addresses(self, data_dir: Path) -> list[str]:
        """Whom to ask, one after the other. The nodes of a local cluster come into it only where
        neither an address nor a token is given: for all others they are another cluster."""
        alone = self.url is not None or self.token
        others = self.others if alone else http_addresses(data_dir).values()
        return list(dict.fromkeys([self.url or DEFAULT_URL, *others]))

    @property
    def credentials(self) -> Credentials:
        """What is shown, at addresses that nobody has said to ask too."""
        return Credentials([self.url or DEFAULT_URL], token=self.token)


def choose(name: str | None) -> None:
    """Uses this context for the command; None: what the environment and the file say."""
    global _chosen  # noqa: PLW0603 - an option before the command, for all that it does
    _chosen = name


def access(url: str | None) -> Access:
    """For a value of `--url`."""
    contexts = load()
    said = _chosen or os.environ.get("STATIONKEEP_CONTEXT") or None
    context = _named(contexts, said) if said else contexts.known.get(contexts.current)
    if _chosen is not None and context is not None:  # options go before the environment
        _trust(context)
        elsewhere = by_option(url)
        told = () if elsewhere else context.others
        return _checked(Access(elsewhere or context.url, context.token, told))
    token = os.environ.get(VARIABLE, "")
    if token:
        checked_token(token, VARIABLE)
    if context is None:
        return _checked(Access(url, token))
    own = url is None or origin_of(url) == origin_of(context.url)
    if own:
        _trust(context)
    told = context.others if url is None else ()
    return _checked(Access(url or context.url, token or (context.token if own else ""), told))


def by_option(url: str | None) -> str | None:
    """What `--url` says, and not the environment in its place."""
    return None if url in os.environ.get("STATIONKEEP_URL", "").split() else url


def _trust(context: Context) -> None:
    """Whom the command trusts from now on, unless that is said already."""
    if not context.ca or os.environ.get(trust.VARIABLE):
        return
    try:
        trust.of_file(context.ca)
    except trust.TrustError as error:
        raise CommandError(f"{error}: log in again") from error
    os.environ[trust.VARIABLE] = context.ca


def _checked(found: Access) -> Access:
    if found.token:
        checked_token(found.token)
        check_private(found.url)
    return found


def checked_token(text: str, source: str = "") -> str:
    """A token as it was given; raises `UsageError`, which does not say what it is."""
    try:
        parse(text)
    except TokenFault as fault:
        raise UsageError(f"{source or file()}: {fault}") from None
    return text


def check_private(url: str | None) -> None:
    """Raises `UsageError` for an address to which a token would go in plain text."""
    parts = split_url(url) if url is not None else None
    if parts is not None and crosses_in_clear(parts):
        raise UsageError(f"{url}: {PLAIN_RULE}")


def file() -> Path:
    """Where contexts are kept."""
    home = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(home) / "stationkeep" / "config.toml"


def load() -> Contexts:
    """What is kept. Raises `CommandError` for a file that is damaged, or that others can read."""
    path = file()
    try:
        with open(path, "rb", opener=regular) as opened:
            if os.fstat(opened.fileno()).st_mode & 0o077:
                raise CommandError(f"{path}: others can read it, and it has tokens: chmod 600")
            found = opened.read(MOST_BYTES + 1)
        if len(found) > MOST_BYTES:
            raise ValueError
        return _read(tomllib.loads(found.decode()))
    except FileNotFoundError:
        return Contexts({})
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CommandError(f"{path}: no file of contexts: {type(error).__name__}") from None


def save(contexts: Contexts) -> None:
    """Keeps contexts, readable by nobody else."""
    path = file()
    lines = [f"current = {_quoted(contexts.current)}"]
    for name, context in sorted(contexts.known.items()):
        lines += ["", f"[contexts.{_quoted(name)}]"]
        lines += [f"{field} = {_quoted(value)}" for field, value in context._asdict().items()]
    try:
        private_directory(path.parent)
        SmallFile(path).save("\n".join([*lines, ""]).encode())
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror or error}") from error


def check_name(name: str) -> None:
    """Raises `UsageError` for what can be no name of a context."""
    if name_fault(name) is not None:
        raise UsageError(f"--name {name!r} refused: {NAME_RULE}")


def put(name: str, context: Context) -> None:
    """Keeps a context, and uses it from now on."""
    check_name(name)
    known = load().known | {name: context}
    if len(known) > MOST_CONTEXTS:
        raise CommandError(f"{MOST_CONTEXTS} contexts are known: remove one")
    save(Contexts(known, name))


def trust_known(url: str) -> None:
    """Whom the command trusts at an address, if there is a context for it."""
    for context in load().known.values():
        if origin_of(context.url) == origin_of(url):
            _trust(context)


def keep_ca(name: str) -> str:
    """A copy, for a context of this name, of the certificates that are trusted now; "" for none."""
    said = os.environ.get(trust.VARIABLE)
    if not said:
        return ""
    copy = _copy_of_ca(name)
    try:
        trusted = read_small(said, trust.MAX_CA)
        private_directory(copy.parent)
        SmallFile(copy).save(trusted)
    except OSError as error:
        raise CommandError(f"{error.filename or copy}: {error.strerror or error}") from error
    return str(copy)


def learn_ca(pem: str) -> str:
    """Keeps what the cluster says to trust, if whom the command trusts is of a copy that we keep:
    its file; "" if there is nothing new, or the file is not ours."""
    said = os.environ.get(trust.VARIABLE, "")
    if said not in {context.ca for context in load().known.values()}:
        return ""
    try:
        trust.of_ca(pem)
        if read_small(said, trust.MAX_CA) == pem.encode():
            return ""
        SmallFile(Path(said)).save(pem.encode())
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise CommandError(f"{said}: {error}") from error
    return said


def _copy_of_ca(name: str) -> Path:
    return file().with_name(f"{name}.pem")


def use(name: str) -> None:
    """Uses a context from now on."""
    contexts = load()
    _named(contexts, name)
    save(contexts._replace(current=name))


def remove(name: str) -> None:
    """Forgets a context and its token."""
    contexts = load()
    _named(contexts, name)
    known = {other: context for other, context in contexts.known.items() if other != name}
    save(Contexts(known, contexts.current if contexts.current in known else ""))
    if name_fault(name) is None:
        _copy_of_ca(name).unlink(missing_ok=True)


def _named(contexts: Contexts, name: str) -> Context:
    found = contexts.known.get(name)
    if found is None:
        known = ", ".join(sorted(contexts.known)) or "none; stationkeep login makes one"
        raise UsageError(f"{unknown('context', name, contexts.known)}; known: {known}")
    return found


def _read(document: dict[str, object]) -> Contexts:
    tables = document.get("contexts", {})
    if not isinstance(tables, dict):
        raise TypeError
    known = {
        name: Context(str(t["url"]), str(t["token"]), str(t.get("ca", "")), _list(t.get("others")))
        for name, t in tables.items()
    }
    return Contexts(known, str(document.get("current", "")))


def _list(found: object) -> tuple[str, ...]:
    if not isinstance(found, list | None):
        raise TypeError
    return tuple(map(str, (found or [])[:MOST_OTHERS]))


def _quoted(value: str | tuple[str, ...]) -> str:
    """A text, or several, as TOML has it, which for what we write is as JSON has it."""
    return json.dumps(value)
