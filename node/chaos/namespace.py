"""A separate network on this machine that can lose packets.

A thread that enters a `Namespace` has a loopback interface and nothing else; processes and threads
that it starts are in it, too, and it ends with the last of them. A fault is a list of iptables
rules for incoming packets (`loss`, `cut`, ...), so a sender is not notified of a loss. `impose`
replaces all faults in one step.

Needs Linux, root, iproute2 and iptables (Debian's packages).
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterable

SPARED = "127.0.0.2"
"""An address whose connections lose nothing, for watching the cluster."""
_NEWNET = 0x4000_0000  # CLONE_NEWNET, sched.h
_COMMAND_SECONDS = 10.0

Rules = list[str]
"""Rules of the chain INPUT, without `-A INPUT`."""


class NamespaceError(OSError):
    """The kernel or a program refused; says which and why."""


def unavailable() -> str | None:
    """Why this machine cannot create a namespace that loses packets; None if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program, package in (("ip", "iproute2"), ("iptables-restore", "iptables")):
        if shutil.which(program) is None:
            return f"{program} is missing: apt-get install {package}"
    try:
        with Namespace() as network:
            network.tell_apart([1])
            network.impose(loss(0.2), cut(1, 2))
    except NamespaceError as error:
        return str(error)
    return None


class Namespace:
    """A new network namespace that the calling thread enters and leaves; a context manager."""

    def __init__(self) -> None:
        self._members: tuple[int, ...] = ()
        self._faults: tuple[Rules, ...] = ()
        self._home = -1

    def __enter__(self) -> "Namespace":
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call("unshare", _NEWNET)
        except NamespaceError:
            os.close(self._home)
            raise
        try:
            run(["ip", "link", "set", "lo", "up"])
            self._apply()
        except NamespaceError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        _call("setns", self._home, _NEWNET)
        os.close(self._home)

    def impose(self, *faults: Rules) -> None:
        """Replaces all faults; the first rule that matches a packet decides."""
        self._faults = faults
        self._apply()

    def tell_apart(self, members: Iterable[int]) -> None:
        """Prepares for `cut`: names the members' ports. Call before they dial.

        Each member must run in the Unix group with the number of its port: on one address, nothing
        else identifies the process that dialled a connection.
        """
        self._members = tuple(members)
        self._apply()

    def _apply(self) -> None:
        spared = [f"-s {SPARED} -j ACCEPT", f"-d {SPARED} -j ACCEPT"]
        marks = [
            f"-A OUTPUT -p tcp --syn -m owner --gid-owner {port} -j CONNMARK --set-mark {port}"
            for port in self._members
        ]
        tables = ["*mangle", *marks, "COMMIT", *incoming(spared, *self._faults)]
        run(["iptables-restore"], "\n".join(tables) + "\n")


def incoming(*faults: Rules) -> list[str]:
    """The table of what is lost on arrival, as lines for iptables-restore."""
    rules = [f"-A INPUT {rule}" for fault in faults for rule in fault]
    return ["*filter", *rules, "COMMIT"]


def loss(share: float) -> Rules:
    """Loses every packet with this probability, independently of all others."""
    return [f"-m statistic --mode random --probability {share} -j DROP"]


def without(protocol: str) -> Rules:
    """`tcp`: connections stall, and none can be opened. `udp`: no datagrams pass."""
    return [f"-p {protocol} -j DROP"]


def sent_by(address: str) -> Rules:
    """Loses everything that comes from an address."""
    return [f"-s {address} -j DROP"]


def longer_than(size: int) -> Rules:
    """Loses every packet of more bytes than this, and tells nobody."""
    return [f"-m length --length {size + 1}:65535 -j DROP"]


def closed(port: int) -> Rules:
    """Like a firewall in front of one member: nobody can reach its port, but connections that it
    dials itself work in both directions."""
    return [f"-p tcp --dport {port} -j DROP", f"-p udp --dport {port} -j DROP"]


def cut(sender: int, receiver: int) -> Rules:
    """Loses everything that the member at one port sends to the member at another, but not the
    other way round.

    A member sends datagrams from its port. A connection that it dialled has any source port, and is
    identified by the mark of its first packet (`Namespace.tell_apart`).
    """
    return [
        f"-p udp --sport {sender} --dport {receiver} -j DROP",
        f"-p tcp --dport {receiver} -m connmark --mark {sender} -j DROP",
        f"-p tcp --sport {sender} -m connmark --mark {receiver} -j DROP",
    ]


def _call(function: str, *arguments: int) -> None:
    """Calls a function of libc that Python 3.11 does not have."""
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise NamespaceError(number, f"{function}: {os.strerror(number)}")


def run(command: list[str], text: str | None = None) -> None:
    """Runs a program that must succeed, with `text` as its input; raises `NamespaceError`."""
    try:
        done = subprocess.run(
            command, input=text, text=True, capture_output=True, timeout=_COMMAND_SECONDS,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NamespaceError(f"{command[0]}: {error}") from error
    if done.returncode != 0:
        raise NamespaceError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
