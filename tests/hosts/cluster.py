"""A cluster across machines: certificates, tokens, and addresses by name.

Every machine has the CA and its key, as `guide/certificates.md` has it, and issues its own
certificate. The test asks as the local administrator of each machine, over https.
"""

import json
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpx
import yaml

from stationkeep.node.chaos.seatwatch import SeatWatch
from stationkeep.node.security import certificates as made
from stationkeep.node.security.certificates import Authority
from stationkeep.node.security.local_door import local_token
from stationkeep.node.security.trust import of_file
from stationkeep.node.wire.unreached import why
from tests.hosts.bed import Bed, Machine, Process
from tests.node.security.issuing import authority

NAME = "hosts"
RAFT, HTTP = 7_701, 8_701
_POLL_SECONDS = 0.1
_ANSWER_SECONDS = 3.0
WATCH_SECONDS = 0.1
START_SECONDS = 90.0
"""Until processes run and all have their roles, on a machine that has much else to do."""


class Cluster:
    """Nodes on the machines of a bed, one on each, of the same name: these, or three that are made.
    They end with the bed."""

    def __init__(self, bed: Bed, *machines: Machine) -> None:
        self.bed = bed
        self.ca = authority(NAME)
        self.machines = list(machines) or [bed.machine(f"sat-{n:03d}") for n in (1, 2, 3)]
        self.nodes: dict[str, Process] = {}
        self.strict = True
        """Whether the test asks only nodes whose certificates any client would accept."""
        self._http: dict[str, httpx.Client] = {}
        for machine in self.machines:
            self.give_ca(machine)
            self.configure(machine)

    # -- files

    def give_ca(self, machine: Machine, ca: Authority | None = None) -> None:
        """Has a machine have the CA of this cluster, or another one, and its key."""
        given, tls = ca or self.ca, machine.folder / "tls"
        tls.mkdir()
        made.write(tls / "ca.pem", made.public_pem([given.certificate]), made.PUBLIC)
        made.write(tls / "ca.key", made.private_pem(given.key), made.PRIVATE)

    def addresses(self, by: Callable[[Machine], str] = lambda m: m.host) -> dict[str, Any]:
        """What `members` says: the ports of each machine, by name or as told."""
        return {
            m.name: {"raft": f"{by(m)}:{RAFT}", "http": f"{by(m)}:{HTTP}"} for m in self.machines
        }

    def configure(self, machine: Machine, **changes: Any) -> None:
        """Writes the file of a node; `changes`: to what is in it, None for what is not."""
        content = {
            "node": machine.name,
            "cluster": NAME,
            "data_dir": "data",
            "raft": f"0.0.0.0:{RAFT}",
            "http": f"0.0.0.0:{HTTP}",
            "members": self.addresses(),
            "profile": "demo",
            "tls": {"dir": "tls"},
            "auth": "required",
            "sensors": dict.fromkeys(("cpu", "memory", "disk", "temperature", "battery"), "off"),
        }
        said = {field: value for field, value in (content | changes).items() if value is not None}
        (machine.folder / "node.yaml").write_text(yaml.safe_dump(said))

    # -- processes

    def start(self, *machines: Machine) -> None:
        """Starts the nodes of these machines, of all when none is named."""
        for machine in machines or self.machines:
            self.nodes[machine.name] = machine.start(
                "stationkeep", "node", "run", "--config", "node.yaml", log="node.log"
            )

    def up(self) -> None:
        """Starts all, and waits until each has its role."""
        self.start()
        self.settled()

    def take_in(self, machine: Machine) -> None:
        """Makes a machine one more member, as guide/forming.md has it, and starts its node."""
        first = self.machines[0]
        ours = ["--config", "node.yaml"]
        first.run("stationkeep", "nodes", "invite", *ours, "--out", f"{machine.name}.word")
        machine.run(
            *("stationkeep", "join", f"{first.host}:{HTTP}", "--token-file", "-"),
            *("--advertise", machine.host, *ours, "--data-dir", "data"),
            text=(first.folder / f"{machine.name}.word").read_text(),
        )
        self.start(machine)

    def close(self) -> None:
        for client in self._http.values():
            client.close()

    # -- what is to be seen

    def ask(self, machine: Machine, path: str, body: Any = None, method: str = "") -> Any:
        """The JSON answer of a node, whatever its status; raises OSError when there is none."""
        try:
            return json.loads(self.text(machine, path, body, method))
        except ValueError as error:
            raise ConnectionError(f"{machine.name} {path}: {error}") from error

    def text(self, machine: Machine, path: str, body: Any = None, method: str = "") -> str:
        """The answer as it is."""
        verb = method or ("GET" if body is None else "POST")
        url = f"https://{machine.address}:{HTTP}{path}"
        headers = {"Authorization": f"Bearer {self.token(machine)}"}
        if machine.name not in self._http:
            trust = self.strict and of_file(str(machine.folder / "tls" / "ca.pem"))
            self._http[machine.name] = httpx.Client(verify=trust, timeout=_ANSWER_SECONDS)
        try:
            return self._http[machine.name].request(verb, url, json=body, headers=headers).text
        except httpx.TransportError as error:
            raise ConnectionError(f"{verb} {url}: {why(error)}") from error

    def view(self, machine: Machine) -> dict[str, Any]:
        """`GET /v1/cluster`."""
        return dict(self.ask(machine, "/v1/cluster"))

    def links(self, machine: Machine) -> dict[str, bool]:
        """Whether each other member is reached from here."""
        return {one["peer"]: one["connected"] for one in self.ask(machine, "/v1/links")["links"]}

    def obstacle(self, machine: Machine, peer: Machine) -> str | None:
        """Why a member is not reached from here, by its word."""
        links = self.ask(machine, "/v1/links")["links"]
        return next(one["error"] for one in links if one["peer"] == peer.name)

    def linked(self, *machines: Machine) -> bool:
        """Whether all links stand, of these machines or of all."""
        return all(all(self.links(machine).values()) for machine in machines or self.machines)

    def roles(self, asked: Machine) -> dict[str, str]:
        """What each node acts as, as one of them sees it."""
        items = self.ask(asked, "/v1/nodes")["items"]
        return {node["id"]: node["effective_role"] for node in items}

    def acting(self, *among: Machine, seconds: float = START_SECONDS) -> Machine:
        """The PRIMARY, once these machines agree that it is a certain one of them."""
        asked = among or self.machines

        def primary() -> Machine | None:
            seen = {
                next((n for n, role in self.roles(m).items() if role == "PRIMARY"), None)
                for m in asked
            }
            return next((m for m in asked if seen == {m.name}), None)

        found = self.until("a PRIMARY acts", primary, seconds)
        assert isinstance(found, Machine)
        return found

    def settled(self) -> Machine:
        """The PRIMARY, once all links stand and every node acts as something."""

        def whole() -> bool:
            roles = [str(role) for role in self.roles(self.machines[0]).values()]
            acts = roles.count("PRIMARY") == 1 and "BACKUP" in roles
            return acts and set(roles) <= {"PRIMARY", "BACKUP", "STANDBY"} and self.linked()

        self.until("every role is filled and all links stand", whole, START_SECONDS)
        return self.acting()

    def leader(self) -> Machine:
        """The leader of the log, by the word of a majority."""

        def led() -> Machine | None:
            words = [self.view(machine)["leader"] for machine in self.machines]
            most = max(words, key=words.count)
            return self.bed.machines.get(most) if 2 * words.count(most) > len(words) else None

        found = self.until("a leader", led, START_SECONDS)
        assert isinstance(found, Machine)
        return found

    def standing(self) -> tuple[int, int]:
        """The epoch of the PRIMARY, and the term of the log."""
        view = self.view(self.leader())
        return view["primary"]["epoch"], view["term"]

    def undisturbed(self, since: tuple[int, int]) -> bool:
        """Whether the same PRIMARY acts. An election may be due to a busy machine; two are not."""
        epoch, term = self.standing()
        return epoch == since[0] and term <= since[1] + 1

    def others(self, than: Machine) -> list[Machine]:
        return [machine for machine in self.machines if machine is not than]

    def until(self, what: str, holds: Callable[[], Any], seconds: float) -> Any:
        """Waits for what a user could see; its first true value."""
        deadline = time.monotonic() + seconds
        seen: object = None
        while time.monotonic() < deadline:
            try:
                seen = holds()
            except (OSError, KeyError, TypeError) as error:  # no answer, or a problem instead
                seen = repr(error)
            else:
                if seen:
                    return seen
            time.sleep(_POLL_SECONDS)
        raise TimeoutError(f"not within {seconds} s: {what} (last: {seen!r})\n{self.logs()}")

    def holds(self, what: str, condition: Callable[[], Any], seconds: float) -> None:
        """Fails as soon as the condition does not hold, within so many seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert condition(), f"{what}\n{self.logs()}"
            time.sleep(_POLL_SECONDS)

    def watch(self) -> SeatWatch:
        """Who acts as PRIMARY, from now on."""
        return SeatWatch(
            {m.name: f"{m.address}:{HTTP}" for m in self.machines},
            WATCH_SECONDS,
            tls=of_file(str(self.machines[0].folder / "tls" / "ca.pem")),
            tokens={m.name: self.token(m) for m in self.machines},
        )

    def token(self, machine: Machine) -> str:
        """Of the machine's own administrator."""
        return local_token(machine.folder / "data") or ""

    def device_token(self) -> str:
        """One that is good everywhere, for all devices."""
        one, file = self.machines[0], "devices.token"
        one.run(
            *("stationkeep", "tokens", "create", "--config", "node.yaml", "--out", file),
            *("--name", "devices", "--role", "device", "--ids", "device-*"),
        )
        return (one.folder / file).read_text().strip()

    def size(self, machine: Machine) -> tuple[float, int]:
        """Megabytes of memory that its node has, and open files."""
        process = self.nodes[machine.name].inside
        return process.memory_info().rss / 1e6, process.num_fds()

    def said(self, machine: Machine) -> str:
        return (machine.folder / "node.log").read_text(errors="replace")

    def logs(self) -> str:
        return "\n".join(f"{m.name}:\n{tail(self.said(m).splitlines())}" for m in self.machines)


def tail(lines: Iterable[str]) -> str:
    return "\n".join(f"    {line}" for line in list(lines)[-12:])
