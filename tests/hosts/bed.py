"""Machines that a test makes: each has an address, a name, processes and files of its own.

    with Bed(folder) as bed:
        one = bed.machine("sat-001")
        one.run("hostname")

A machine is a process (`sleep`) in namespaces of its own, of network, host name, mounts and
processes, and ends with everything in it when that process does, whatever became of the test. All
are plugged into one bridge, in a network namespace that the thread of the test is in: it is the
operator at 10.77.0.1, where the name server listens, too. Nothing leaves that namespace.

Faults are those of `node.chaos.namespace`, imposed at the machine that receives, on IPv4.
"""

import os
import signal
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from stationkeep.node.chaos.namespace import (
    Namespace,
    NamespaceError,
    Rules,
    incoming,
    run,
    sent_by,
    unavailable,
)
from tests.hosts.names import NameServer

OPERATOR = "10.77.0.1"
DOMAIN = "example.net"
PACKAGE = Path(__file__).parents[2] / "scripts" / "package"
FAKETIME = "/usr/lib/{}-linux-gnu/faketime/libfaketime.so.1"
SECONDS = 60.0
"""Within which a command on a machine must end."""
_BOOT = """
set -e
hostname "$1"
mount -t tmpfs own /mnt
for part in etc var/lib; do
    mkdir -p /mnt/$part/new /mnt/$part/work
    changes="upperdir=/mnt/$part/new,workdir=/mnt/$part/work"
    mount -t overlay own -o "lowerdir=/$part,$changes" /$part
done
printf '127.0.0.1 localhost\\n::1 localhost\\n' >/etc/hosts
echo "nameserver $2" >/etc/resolv.conf
echo 'hosts: files dns' >/etc/nsswitch.conf
echo booted
exec sleep infinity
"""
"""Changes in /etc and /var/lib are this machine's own, and are gone with it."""


class Bed:
    """A context manager: its thread is in the network of the machines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.network = Namespace()
        self.names = NameServer()
        self.machines: dict[str, Machine] = {}

    def __enter__(self) -> "Bed":
        self.network.__enter__()
        try:
            _ip("link add br0 type bridge")
            _ip(f"addr add {OPERATOR}/8 dev br0")
            _ip("addr add fd77::1/64 dev br0 nodad")
            _ip("link set br0 up")
            self.names.start(OPERATOR)
        except BaseException:
            self.network.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for machine in self.machines.values():
            machine.end()
        self.names.stop()
        self.network.__exit__()

    def machine(self, name: str) -> "Machine":
        """A new machine, which the name server knows under `name` and in `DOMAIN`."""
        made = Machine(self, name, 11 + len(self.machines))
        self.machines[name] = made
        self.call(name, made.address)
        return made

    def call(self, name: str, *addresses: str) -> None:
        """From now on a name has these addresses, and no others."""
        self.names.known |= {name: [*addresses], f"{name}.{DOMAIN}": [*addresses]}

    def heal(self) -> None:
        """Ends all faults of the network and of names."""
        self.names.mood = "answers"
        self.network.impose()
        for machine in self.machines.values():
            machine.impose()
            machine.plug()
            self.call(machine.name, machine.address)


class Machine:
    """One machine. `folder`: its user's home, where its commands run."""

    def __init__(self, bed: Bed, name: str, number: int) -> None:
        self._bed, self.name = bed, name
        self.address, self.address6 = f"10.77.0.{number}", f"fd77::{number}"
        self.folder = bed.folder / name
        self._clock = self.folder / "clock"
        self._port = f"m{number}"
        self._processes: list[Process] = []
        self._boot()
        self._plug_in()

    @property
    def host(self) -> str:
        """Its name, as others know it."""
        return f"{self.name}.{DOMAIN}"

    def _boot(self) -> None:
        self.folder.mkdir(parents=True)
        self._outside = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig=KILL"),
                *("unshare", "--net", "--uts", "--mount", "--pid", "--mount-proc"),
                *("--fork", "--kill-child", "sh", "-c", _BOOT, "sh", self.name, OPERATOR),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        assert self._outside.stdout is not None
        if self._outside.stdout.readline() != "booted\n":
            raise NamespaceError(f"{self.name} did not boot")
        (inside,) = psutil.Process(self._outside.pid).children()
        self._inside = inside.pid

    def _plug_in(self) -> None:
        _ip(f"link add {self._port} type veth peer name eth0 netns {self._inside}")
        _ip(f"link set {self._port} master br0 up")
        self.ip("link set lo up")
        # Packets of segments, which no rule about their length could tell from long ones: never.
        self.ip("link set eth0 up gso_max_segs 1")
        self.ip(f"addr add {self.address}/8 dev eth0")
        self.ip(f"addr add {self.address6}/64 dev eth0 nodad")

    def end(self) -> None:
        """Switches it off: everything that runs on it is gone."""
        self._outside.kill()
        self._outside.wait()
        for process in self._processes:
            process.ended()
        assert self._outside.stdout is not None
        self._outside.stdout.close()

    # -- commands

    def _command(self, words: Iterable[str], **environment: str) -> list[str]:
        env = {
            "HOME": str(self.folder),
            "PYTHONPATH": str(PACKAGE),
            "PATH": f"{self._bed.folder / 'bin'}:{os.environ['PATH']}",
            **(faked(self._clock) if self._clock.exists() else {}),
            **environment,
        }
        pairs = [f"{name}={value}" for name, value in env.items()]
        unset = [f"--unset={name}" for name in os.environ if name.startswith("STATIONKEEP_")]
        enter = ["nsenter", f"--target={self._inside}", "--net", "--uts", "--mount", "--pid"]
        return [*enter, "env", *unset, "-C", str(self.folder), *pairs, *words]

    def run(
        self, *words: str, text: str | None = None, fails: int | None = 0, **environment: str
    ) -> str:
        """Runs a command, which must end with this status (None: any); what it printed."""
        done = subprocess.run(
            self._command(words, **environment), input=text, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS,
        )  # fmt: skip
        assert fails in (None, done.returncode), f"{self.name}$ {' '.join(words)}\n{done.stdout}"
        return done.stdout

    def start(self, *words: str, log: str, **environment: str) -> "Process":
        """Starts a command that stays; `log`: the file in `folder` for what it prints."""
        self._processes.append(Process(self._command(words, **environment), self.folder / log))
        return self._processes[-1]

    def set_clock(self, error: str) -> None:
        """How wrong its clock is: `+400d`, or `+0` for right. Shown within a second by everything
        that was started after the first call."""
        self._clock.write_text(f"{error}\n")

    # -- network

    def ip(self, words: str) -> None:
        """Its own `ip`."""
        run(["nsenter", "--target", str(self._inside), "--net", "ip", *words.split()])

    def impose(self, *faults: Rules) -> None:
        """Replaces all that is lost on its way to this machine, but for what the operator says."""
        restore = ["nsenter", "--target", str(self._inside), "--net", "iptables-restore"]
        spared = [f"-s {OPERATOR} -j ACCEPT"]
        run(restore, "\n".join(incoming(spared, *faults)) + "\n")

    def hears_nothing_of(self, *senders: "Machine") -> None:
        """A cut, one way."""
        self.impose(*(sent_by(sender.address) for sender in senders))

    def unplug(self) -> None:
        _ip(f"link set {self._port} down")

    def plug(self) -> None:
        _ip(f"link set {self._port} up")

    def readdress(self, address: str) -> None:
        """Has this address instead, any of 10.0.0.0/8; its names follow."""
        self.ip(f"addr del {self.address}/8 dev eth0")
        self.ip(f"addr add {address}/8 dev eth0")
        self.address = address
        self._bed.call(self.name, address)


class Process:
    """A process on a machine."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.log = log
        with log.open("ab") as file:
            self._outside = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT
            )

    @property
    def running(self) -> bool:
        return self._outside.poll() is None

    def send(self, signum: signal.Signals) -> None:
        for inside in psutil.Process(self._outside.pid).children():
            inside.send_signal(signum)

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> None:
        """Ends it, and waits for that."""
        if self.running:
            self.send(signum)
            self.ended()

    def ended(self) -> int:
        """Waits for its end; the status."""
        return self._outside.wait(SECONDS)

    def said(self) -> str:
        return self.log.read_text(errors="replace")


def faked(clock: Path) -> Mapping[str, str]:
    """The environment of a process whose clock is as wrong as a file says. Time passes as it
    should."""
    library = FAKETIME.format(os.uname().machine)
    return {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


def missing() -> str | None:
    """Why no machines can be made here; None if they can."""
    why = unavailable()
    if why is not None:
        return why
    if not Path(FAKETIME.format(os.uname().machine)).exists():
        return "libfaketime is missing: apt-get install faketime"
    return None


def _ip(words: str) -> None:
    """`ip` of the operator, in whose network the bridge is."""
    run(["ip", *words.split()])
