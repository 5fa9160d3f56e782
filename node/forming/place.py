"""Where the files of a new node go, what its own file says, and what must not be there yet."""

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import yaml

from stationkeep.cluster.commands import MemberSpec
from stationkeep.cluster.names import address_fault, is_loopback
from stationkeep.node.raft.storage.snapshot_file import sync_directory
from stationkeep.node.security import certificates as made
from stationkeep.node.security.contexts import CA_FILE, CA_KEY_FILE
from stationkeep.node.system.addresses import join_address, split_address, system_message
from stationkeep.node.system.operator_files import directory

DIAL_SECONDS = 2.0
"""For finding out whether something answers at an address."""
EVERYWHERE, EVERYWHERE_6 = "0.0.0.0", "::"  # noqa: S104 - whoever reaches a port shows who they are
OWN, SHARED = 0o700, 0o755
"""Modes of directories: of a node's data, and of what others may read. Nobody else writes to
either, whatever the mask."""
HEAD = "# Written once by `stationkeep {command}`; your edits are kept.\n"


class FormingError(Exception):
    """Why a machine does not become a node; what was there has not changed."""


class Place(NamedTuple):
    """`config`: the node's file; beside it is the directory of its CA. `own`: id, and where others
    reach it. `listen`: a host to listen on; empty: by `own`."""

    config: Path
    data_dir: Path
    own: MemberSpec
    listen: str = ""

    @property
    def tls_dir(self) -> Path:
        return self.config.parent / "tls"

    @property
    def ca(self) -> Path:
        return self.tls_dir / CA_FILE

    @property
    def ca_key(self) -> Path:
        return self.tls_dir / CA_KEY_FILE

    def text(
        self, command: str, cluster: str, members: Iterable[MemberSpec], **more: object
    ) -> bytes:
        """The node's file, as `command` writes it."""
        body = {
            "node": self.own.id,
            "cluster": cluster,
            "data_dir": str(self.data_dir),
            "raft": self._listens(self.own.raft),
            "http": self._listens(self.own.http),
            "auth": "required",
            "tls": {"dir": str(self.tls_dir)},
            "members": {m.id: {"raft": m.raft, "http": m.http} for m in members},
        }
        text = HEAD.format(command=command) + yaml.safe_dump(body | more, sort_keys=False)
        return text.encode()

    def _listens(self, reached: str) -> str:
        """Where to listen for whoever dials `reached`: on every address, since the machine's own
        name need not lead to the right one. Loopback stays loopback."""
        host, port = split_address(reached)
        if self.listen:
            return join_address(self.listen, port)
        if is_loopback(host):
            return reached
        return join_address(EVERYWHERE_6 if ":" in host else EVERYWHERE, port)

    def check_unused(self, besides: str = "") -> None:
        """Raises `FormingError` when the data directory has anything in it, but for `besides`."""
        try:
            names = sorted(path.name for path in self.data_dir.iterdir())
        except FileNotFoundError:
            return
        except OSError as error:
            raise failed(self.data_dir, error) from error
        if found := [name for name in names if name != besides]:
            raise FormingError(f"{self.data_dir} has data of a node already: {found[0]}")


def check_addresses(own: MemberSpec, listen: str) -> None:
    """Raises `FormingError` for an address that nobody could be told, or listen on."""
    for field, address in (("raft", own.raft), ("http", own.http)):
        fault = address_fault(address)
        if fault is not None:
            raise FormingError(f"{field}: {address!r} refused: {fault}")
    if own.raft == own.http:
        raise FormingError(f"raft and http are both {own.raft}: each has a port of its own")
    everywhere = listen in ("", EVERYWHERE, EVERYWHERE_6)
    if not everywhere and address_fault(join_address(listen, 1)) is not None:
        raise FormingError(f"--listen {listen!r} refused: a name or an address of this machine")


def own_address(address: str) -> str:
    """The address from which this machine reaches another one, `host:port`. Raises
    `FormingError`."""
    try:
        with socket.create_connection(split_address(address), DIAL_SECONDS) as dialled:
            return str(dialled.getsockname()[0])
    except ValueError as error:
        raise FormingError(f"{address!r} refused: {error}") from error
    except OSError as error:
        raise FormingError(f"{address}: {system_message(error) or 'no answer'}") from error


def check_silent(own: MemberSpec) -> None:
    """Raises `FormingError` when something answers where the new node is to be reached."""
    for address in (own.raft, own.http):
        try:
            socket.create_connection(split_address(address), DIAL_SECONDS).close()
        except OSError:
            continue
        raise FormingError(f"something answers at {address} already: is a node running there?")


@contextlib.contextmanager
def alone_in(where: Path, mode: int = OWN) -> Iterator[None]:
    """Keeps others out of a directory, which is made where it is missing. Raises `FormingError`
    when somebody is in it. Who is killed is out of it."""
    try:
        directory(where, mode)
        for above in (where.parent, where.parent.parent):
            with contextlib.suppress(PermissionError):  # one that we cannot read was there before
                sync_directory(above)
        handle = os.open(where, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise failed(where, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise FormingError(f"{where}: the command runs there already") from error
    finally:
        os.close(handle)


def save(path: Path, content: bytes, mode: int) -> None:
    """Writes a file that is whole on disk, and its directory where that is missing. Raises
    `FormingError`; then what was there is still there."""
    try:
        directory(path.parent, SHARED)
        made.write(path, content, mode)
    except OSError as error:
        raise failed(path, error) from error


def failed(path: Path, error: OSError) -> FormingError:
    return FormingError(f"{error.filename or path}: {error.strerror or error}")
