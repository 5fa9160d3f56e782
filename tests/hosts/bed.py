"""Machines that a test makes: each has an address, a name, processes and files of its own.

    with Bed(folder) as bed:
        one = bed.machine("sat-001")
        one.run("hostname")

A machine is a process (`sleep`) in namespaces of its own, of network, host name, mounts and
processes, and ends with everything in it when that process does, whatever became of the test. All
are plugged into one bridge, in a network namespace that the thread of the test is in: it is the
operator at 10.77.0.1, where the name server listens, too. Nothing leaves that namespace. A machine
can be far away, on a second bridge (`distance`), or behind a router that translates addresses
(`hide`).

Faults are those of `node.chaos.namespace`, imposed at the machine that receives, on IPv4.
"""

import os
import signal
import subprocess
import sys
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
from tests.hosts.distance import Distance
from tests.hosts.names import NameServer

OPERATOR = "10.77.0.1"
GATEWAY, BEHIND = "192.168.1.1", "192.168.1.2"
"""Addresses that nobody but a router and the machine behind it knows."""
NEAR, FAR = "near", "far"
"""Switches."""
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
_PROGRAM = f"""#!{sys.executable}
from stationkeep.node.__main__ import main
main()
"""
"""`stationkeep` of this checkout, under its own name."""


class Bed:
    """A context manager: its thread is in the network of the machines."""

    def __init__(self, folder: Path) -> None:
        """`folder`: empty, for the machines' files."""
        self.folder = folder
        self.network = Namespace()
        self.names = NameServer()
        self.machines: dict[str, Machine] = {}
        self._distance: Distance | None = None

    def __enter__(self) -> "Bed":
        program = self.folder / "bin" / "stationkeep"
        program.parent.mkdir()
        program.write_text(_PROGRAM)
        program.chmod(0o755)
        self.network.__enter__()
        try:
            _ip(f"link add {NEAR} type bridge")
            _ip(f"addr add {OPERATOR}/8 dev {NEAR}")
            _ip(f"addr add fd77::1/64 dev {NEAR} nodad")
            _ip(f"link set {NEAR} up")
            _ip("route add local 10.90.0.0/16 dev lo")
            self.names.start(OPERATOR)
        except BaseException:
            self.network.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for machine in self.machines.values():
            machine.end()
        if self._distance is not None:
            self._distance.close()
        self.names.stop()
        self.network.__exit__()

    def machine(self, name: str, switch: str = NEAR) -> "Machine":
        """A new machine, which the name server knows under `name` and in `DOMAIN`. `switch`: where
        it is plugged in."""
        return self._known(Machine(self, name, 11 + len(self.machines), switch))

    def hide(self, name: str, router: "Machine", *ports: int) -> "Machine":
        """A new machine behind a router: the others know the router's address alone, and what they
        send to these ports of it."""
        return self._known(Hidden(self, name, 11 + len(self.machines), router, ports))

    def _known(self, made: "Machine") -> "Machine":
        self.machines[made.name] = made
        self.call(made.name, made.address)
        return made

    def distance(self, seconds: float, jitter: float = 0.0) -> str:
        """A switch that is so far away, each way; once in the life of a bed."""
        _ip(f"link add {FAR} type bridge")
        self._distance = Distance("cable0", "cable1", seconds, jitter)
        for cable, switch in (("cable0", NEAR), ("cable1", FAR)):
            _ip(f"link set {cable} master {switch} up")
        _ip(f"link set {FAR} up")
        return FAR

    def call(self, name: str, *addresses: str) -> None:
        """From now on a name has these addresses, and no others."""
        self.names.known |= {name: [*addresses], f"{name}.{DOMAIN}": [*addresses]}

    def guest(self, number: int) -> str:
        """An address of the operator's, one of 65,536: who comes from each is somebody else."""
        return f"10.90.{number >> 8}.{number & 255}"

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

    def __init__(self, bed: Bed, name: str, number: int, switch: str = NEAR) -> None:
        self._bed, self.name, self._switch = bed, name, switch
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
        _ip(f"link set {self._port} master {self._switch} up")
        self._wake()
        self.ip(f"addr add {self.address}/8 dev eth0")
        self.ip(f"addr add {self.address6}/64 dev eth0 nodad")
        self.ip(f"route add 10.90.0.0/16 via {OPERATOR}")  # one neighbour, and not 65,536

    def _wake(self) -> None:
        self.ip("link set lo up")
        # Packets of segments, which no rule about their length could tell from long ones: never.
        self.ip("link set eth0 up gso_max_segs 1")

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
        self._restore(incoming([f"-s {OPERATOR} -j ACCEPT"], *faults))

    def _restore(self, rules: list[str]) -> None:
        enter = ["nsenter", "--target", str(self._inside), "--net"]
        run([*enter, "iptables-restore"], "\n".join(rules) + "\n")

    def route(self, inside: int, ports: Iterable[int]) -> None:
        """Becomes the router of a network with one machine in it, of which it shows others nothing
        but these ports. `inside`: that machine's process."""
        self.ip(f"link add lan0 type veth peer name eth0 netns {inside}")
        self.ip("link set lan0 up gso_max_segs 1")
        self.ip(f"addr add {GATEWAY}/24 dev lan0")
        self.run("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        lead = f"-j DNAT --to-destination {BEHIND}"
        ways = [(kind, port) for port in ports for kind in ("tcp", "udp")]
        into = [f"-A PREROUTING -i eth0 -p {kind} --dport {port} {lead}" for kind, port in ways]
        self._restore(["*nat", *into, "-A POSTROUTING -o eth0 -j MASQUERADE", "COMMIT"])

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


class Hidden(Machine):
    """A machine that others reach by certain ports of its router. `address` is that of the router:
    it does not know its own."""

    def __init__(
        self, bed: Bed, name: str, number: int, router: Machine, ports: Iterable[int]
    ) -> None:
        self._router, self._ports = router, ports
        super().__init__(bed, name, number)
        self.address = router.address

    def _plug_in(self) -> None:
        self._router.route(self._inside, self._ports)
        self._wake()
        self.ip(f"addr add {BEHIND}/24 dev eth0")
        self.ip(f"route add default via {GATEWAY}")

    def plug(self) -> None:
        self._router.plug()

    def unplug(self) -> None:
        self._router.unplug()


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

    @property
    def inside(self) -> psutil.Process:
        """The process itself."""
        (found,) = psutil.Process(self._outside.pid).children()
        return found

    def send(self, signum: signal.Signals) -> None:
        self.inside.send_signal(signum)

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
