"""What may happen to a world: the verbs of a script, the words that each takes, and what it does.

Words are checked before a world begins (`check_scenario`), so `perform` can rely on them: a node
where a node is expected, a number where a number is.
"""

from collections.abc import Callable
from typing import Concatenate, NamedTuple

from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.levels import HIGHEST, LOWEST
from stationkeep.cluster.settings import PROFILES
from stationkeep.node.raft.engine.guards import Guards
from stationkeep.node.simulation.actors.authority import Authority
from stationkeep.node.simulation.actors.clients import LEVEL_ORDERS, Clients
from stationkeep.node.simulation.actors.deployments import TARGETS, Deployments
from stationkeep.node.simulation.actors.devices import Devices
from stationkeep.node.simulation.actors.newcomers import Newcomers
from stationkeep.node.simulation.actors.rollouts import DESCRIBED, Rollouts
from stationkeep.node.simulation.faults.disturbances import Disturbances
from stationkeep.node.simulation.links.network import LANES
from stationkeep.node.simulation.machine.disk import POINTS
from stationkeep.node.simulation.machine.papers import Impostor, Kept
from stationkeep.node.simulation.scenario import (
    MAX_HOURS,
    MAX_NODES,
    RULES,
    Action,
    BadScenario,
    Scenario,
)
from stationkeep.node.simulation.world import World

WHO = ("leader", "primary")
"""Names for whichever node it is at that moment."""
PARTS = 100
"""Parts of a scenario's duration, after each of which `play` reports the time."""

ORDERS = ("switchover", "maintenance", "action")

Do = Callable[Concatenate[World, ...], None]
Check = Callable[[str, Scenario], str | None]
"""Returns what a word should be, if it is something else."""


class Verb(NamedTuple):
    """`wants`: a check for each of its words. `troubles`: whether it can bring a node into trouble,
    or out of it. `newcomer`: whether its first word is a machine that need not be there yet."""

    wants: tuple[Check, ...]
    do: Do
    troubles: bool = True
    newcomer: bool = False


# -- playing ---------------------------------------------------------------------------------------


def play(world: World, told: Callable[[float], None] = lambda _: None) -> None:
    """Plays the scenario's script to its end; calls `told` with the time now and then. Raises
    `Violation` when something breaks."""
    for action in world.scenario.script:
        _run_slowly_to(world, action.at, told)
        perform(world, action)
    _run_slowly_to(world, world.scenario.duration, told)


def _run_slowly_to(world: World, end: float, told: Callable[[float], None]) -> None:
    part = world.scenario.duration / PARTS
    while world.time.now < end:
        world.agenda.run_to(min(end, world.time.now + part))
        told(world.time.now)


def perform(world: World, action: Action) -> None:
    """Does an action now; nothing if a node that it names is not there."""
    verb = VERBS[action.verb]
    if verb.newcomer:
        world.provide(action.words[0])
    words = [_who(world, word) for word in action.words]
    present = [word for word in words if word is not None]
    if len(present) < len(words):
        return
    world.note("> " + " ".join((action.verb, *action.words)))
    verb.do(world, *present)
    if verb.troubles:
        world.note_troubles()


def _who(world: World, word: str) -> str | None:
    """The node that a name means; any other word is itself."""
    if word == "leader":
        leader = world.members.leader()
        return None if leader is None else leader.name
    if word == "primary":
        return next(iter(world.members.primaries), None)
    absent = word in world.scenario.spares and word not in world.members
    return None if absent else word


# -- machines --------------------------------------------------------------------------------------


def _crash(world: World, name: str, how: str) -> None:
    member = world.members[name]
    if member.up:
        if how == "power":
            member.disk.lose_power(member.draw)
        world.end(member, silently=how == "power")


def _crash_at(world: World, name: str, point: str) -> None:
    world.members[name].disk.armed = point


def _start(world: World, name: str) -> None:
    if world.members[name].is_node and not world.members[name].up:
        world.start(world.members[name])


def _stop(world: World, name: str) -> None:
    if world.members[name].runs:
        world.stop(world.members[name])


def _pause(world: World, name: str, seconds: str) -> None:
    if world.members[name].runs:
        world.pause(world.members[name], float(seconds))


def _rate(world: World, name: str, rate: str) -> None:
    world.members[name].clock.run_at(float(rate))


def _wall(world: World, name: str, seconds: str) -> None:
    world.members[name].clock.wall_offset += int(float(seconds) * 1_000)


def _durability(world: World, name: str, mode: str) -> None:
    world.members[name].disk.synced = mode == "sync"


def _slow(world: World, name: str, seconds: str) -> None:
    world.members[name].disk.delay = float(seconds)


def _full(world: World, name: str, state: str) -> None:
    world.members[name].disk.full = state == "on"


def _rot(world: World, name: str, what: str) -> None:
    """A byte on the disk of a node flips; it is found when the node starts."""
    world.members[name].disk.rot(what)


def _erase(world: World, name: str) -> None:
    """An operator gives a node that is down an empty disk, and goes by the guide while the cluster
    is being founded: an empty disk alone could found it again, with whoever heard of no log yet."""
    if not world.members[name].up:
        founders = (world.members[each] for each in world.scenario.names)
        founding = any(founder.is_trusted_unheard for founder in founders)
        world.members[name].replace_disk(rejoins=founding)


def _risk(world: World, name: str, risk: str) -> None:
    world.members[name].health.risk = float(risk)


def _hooks(world: World, name: str, mode: str) -> None:
    if world.members[name].up:
        world.members[name].hooks.mode = mode


# -- people ----------------------------------------------------------------------------------------


def _transfer(world: World) -> None:
    leader = world.members.leader()
    if leader is not None:
        world.trouble.moment(leader.name)
        leader.raft.transfer_leadership()


def _clients(do: Callable[Concatenate[Clients, ...], None]) -> Do:
    return lambda world, *words: do(world.clients, *words)


def _write(world: World, node: str, register: str, value: str) -> None:
    world.clients.write(node, register, int(float(value)))


def _join(world: World, name: str, through: str) -> None:
    if not world.members[name].up:
        world.authority.equip(name)
    world.operators.join(name, through)


def _leave(world: World, name: str, through: str) -> None:
    world.operators.leave(name, through)


def _release(world: World, name: str, level: str) -> None:
    """Installs another release on a machine: its next process runs it."""
    world.members[name].highest = int(float(level))


def _readdress(world: World, name: str, to: str) -> None:
    if world.members[name].up:
        world.end(world.members[name], silently=True)
    world.movers.move(name, to)


def _move(world: World, node: str, name: str) -> None:
    world.movers.misled = True
    world.clients.move(node, name)


def _newcomers(do: Callable[Concatenate[Newcomers, ...], None]) -> Do:
    return lambda world, *words: do(world.newcomers, *words)


def _authority(do: Callable[Concatenate[Authority, ...], None]) -> Do:
    return lambda world, *words: do(world.authority, *words)


# -- links and devices -----------------------------------------------------------------------------


def _links(do: Callable[Concatenate[Disturbances, ...], None]) -> Do:
    return lambda world, *words: do(world.disturbances, *words)


def _devices(do: Callable[Concatenate[Devices, ...], None]) -> Do:
    return lambda world, *words: do(world.devices, *words)


def _deployments(do: Callable[Concatenate[Deployments, ...], None]) -> Do:
    return lambda world, *words: do(world.deployments, *words)


def _rollouts(do: Callable[Concatenate[Rollouts, ...], None]) -> Do:
    return lambda world, *words: do(world.rollouts, *words)


def _lie(world: World, node: str) -> None:
    world.liars.lie(node)


def _deceive(world: World, node: str) -> None:
    world.deceivers.deceive(node)


# -- words -----------------------------------------------------------------------------------------


def _number(word: str, _: Scenario) -> str | None:
    try:
        value = float(word)
    except ValueError:
        return "a number"
    return None if abs(value) < 1e9 else "a number"


def _node(word: str, scenario: Scenario) -> str | None:
    return None if word in WHO else _machine(word, scenario, ", leader, primary")


def _machine(word: str, scenario: Scenario, or_else: str = "") -> str | None:
    first, last = scenario.names[0], scenario.spares[-1]
    fits = word in scenario.names or word in scenario.spares
    return None if fits else f"a node ({first} … {last}){or_else}"


def _one_of(*choices: str) -> Check:
    return lambda word, _: None if word in choices else "one of " + ", ".join(choices)


VERBS: dict[str, Verb] = {
    "crash": Verb((_node, _one_of("process", "power")), _crash),
    "crash-at": Verb((_node, _one_of(*POINTS)), _crash_at),
    "start": Verb((_node,), _start),
    "stop": Verb((_node,), _stop),
    "pause": Verb((_node, _number), _pause),
    "rate": Verb((_node, _number), _rate),
    "wall": Verb((_node, _number), _wall),
    "slow": Verb((_node, _number), _slow),
    "durability": Verb((_node, _one_of("sync", "os")), _durability),
    "full": Verb((_node, _one_of("on", "off")), _full),
    "rot": Verb((_node, _one_of("journal", "snapshot")), _rot),
    "erase": Verb((_node,), _erase),
    "risk": Verb((_node, _number), _risk),
    "hooks": Verb((_node, _one_of("work", "fail", "hang")), _hooks),
    "cut": Verb((_node, _node), _links(Disturbances.cut)),
    "mend": Verb((_node, _node), _links(Disturbances.mend)),
    "isolate": Verb((_node,), _links(Disturbances.isolate)),
    "rejoin": Verb((_node,), _links(Disturbances.rejoin)),
    "reset": Verb((_node, _node), _links(Disturbances.reset)),
    "weather": Verb((_number, _number, _number, _number), _links(Disturbances.weather)),
    "far": Verb((_node, _node, _number), _links(Disturbances.far)),
    "stray": Verb((_number, _number, _number), _links(Disturbances.stray)),
    "udp": Verb((_node, _node, _one_of("on", "off")), _links(Disturbances.udp)),
    "standing": Verb((_node, _node, _one_of("on", "off")), _links(Disturbances.standing)),
    "lane": Verb((_one_of(*LANES), _one_of("on", "off")), _links(Disturbances.lane)),
    "datagrams": Verb((_one_of("on", "off"),), _links(Disturbances.datagrams)),
    "devices": Verb((_number,), _devices(Devices.add), troubles=False),
    "ill": Verb((_number, _number), _devices(Devices.fall_ill), troubles=False),
    "roam": Verb((_number,), _devices(Devices.roam), troubles=False),
    "renew": Verb((_number,), _devices(Devices.renew), troubles=False),
    "pin": Verb((_node, _one_of(*Ring)), _devices(Devices.pin), troubles=False),
    "carriers": Verb((_number,), _devices(Devices.add_carriers), troubles=False),
    "pollers": Verb((_number,), _devices(Devices.add_pollers), troubles=False),
    "remove": Verb((_node,), _devices(Devices.remove), troubles=False),
    "lie": Verb((_node,), _lie, troubles=False),
    "deceive": Verb((_node,), _deceive, troubles=False),
    "windows": Verb((_number,), _devices(Devices.bound), troubles=False),
    "deploy": Verb((_node, _one_of(*TARGETS)), _deployments(Deployments.deploy), troubles=False),
    "withdraw": Verb((_node,), _deployments(Deployments.withdraw), troubles=False),
    "retry": Verb((_node,), _deployments(Deployments.retry), troubles=False),
    "able": Verb((_number,), _devices(Devices.enable), troubles=False),
    "tamper": Verb((_number,), _devices(Devices.tamper), troubles=False),
    "hurry": Verb((_node,), _rollouts(Rollouts.hurry), troubles=False),
    "roll": Verb((_node, _one_of(*DESCRIBED)), _rollouts(Rollouts.roll), troubles=False),
    "transfer": Verb((), _transfer),
    "write": Verb((_node, _node, _number), _write, troubles=False),
    "read": Verb((_node, _node), _clients(Clients.read), troubles=False),
    "order": Verb(
        (_node, _one_of("switchover", "maintenance", "action")),
        _clients(Clients.order),
        troubles=False,
    ),
    "release": Verb((_node, _one_of(*map(str, range(LOWEST, HIGHEST + 1)))), _release),
    "level": Verb((_node, _one_of(*LEVEL_ORDERS)), _clients(Clients.level), troubles=False),
    "move": Verb((_node, _node), _move, troubles=False),
    "secure": Verb((_one_of(*Kept),), _authority(Authority.secure), troubles=False),
    "age": Verb((_node, _number), _authority(Authority.age), troubles=False),
    "reissue": Verb((_node,), _authority(Authority.reissue), troubles=False),
    "impostor": Verb((_node, _one_of(*Impostor, "off")), _authority(Authority.impostor)),
    "revoke": Verb((_node, _node), _authority(Authority.revoke), troubles=False),
    "rotate": Verb((), _authority(Authority.rotate), troubles=False),
    "join": Verb((_machine, _node), _join, newcomer=True),
    "readdress": Verb((_node, _one_of("new", "used")), _readdress),
    "invite": Verb((_node, _number), _newcomers(Newcomers.invite), troubles=False),
    "come": Verb((_machine, _node), _newcomers(Newcomers.come), newcomer=True),
    "double": Verb((_machine, _node), _newcomers(Newcomers.double), newcomer=True),
    "leave": Verb((_node, _node), _leave),
}
"""`weather`: delay s, jitter s, share lost, mean burst s. `stray`, of datagrams: share that is
late, by up to s, share that arrives twice. `release`: the machine, and the highest level of what it
runs from its next start on. `level`, `move`: the node that the operator asks; `move` also: the
member. `secure`: where the CA's key is. `age`: the node whose certificate is to end in so many
days. `impostor`: what somebody shows in the place of a node. `revoke`: the node that the operator
asks, and whose certificate. `readdress`: the machine, and where
it is from now on. `invite`: the node that the operator asks, and how many may come.
`come`, `double`: the machine, or another one under its id, and the node at which it asks. `join`,
`leave`: the machine, and the node that the operator asks. `ill`: share of the devices, s.
`carriers`, `pollers`: number of devices that can carry out tasks. `remove`, `deploy`, `withdraw`,
`retry`: the node that the operator asks; `deploy` also: the target. `lie`: the node that reports
what no device said; `deceive`: the node that sends a device what is in no log. `windows`: share of
the devices that begin only in theirs; `able`: that can go back by themselves; `tamper`: that get
another version by hand. `hurry`: the node through which deadlines are shortened; `roll`: the node,
and what is ordered of rollouts."""


def check_action(action: Action, scenario: Scenario) -> None:
    """Raises `BadScenario` if the action cannot be performed in this scenario."""
    verb = VERBS.get(action.verb)
    if verb is None:
        raise BadScenario(f"{action}: no such verb; known are {', '.join(sorted(VERBS))}")
    if len(verb.wants) != len(action.words):
        raise BadScenario(f"{action}: {action.verb} takes {len(verb.wants)} words")
    for check, word in zip(verb.wants, action.words, strict=True):
        wanted = check(word, scenario)
        if wanted is not None:
            raise BadScenario(f"{action}: {word!r} is not {wanted}")
    if not 0 <= action.at < MAX_HOURS * 3600:
        raise BadScenario(f"{action}: not a moment of a simulation")


def check_scenario(scenario: Scenario) -> None:
    """Raises `BadScenario` at the first part that makes no sense."""
    if not 0 <= scenario.seed < 2**63:
        raise BadScenario(f"seed: {scenario.seed} refused: a whole number from 0 to 2^63 - 1")
    if not 3 <= scenario.nodes <= MAX_NODES:
        raise BadScenario(f"nodes: {scenario.nodes} refused: between 3 and {MAX_NODES}")
    if not LOWEST <= scenario.level <= HIGHEST:
        raise BadScenario(f"level: {scenario.level} refused: from {LOWEST} to {HIGHEST}")
    if scenario.profile not in PROFILES:
        known = ", ".join(sorted(PROFILES))
        raise BadScenario(f"profile: {scenario.profile!r} refused: one of {known}")
    if not 0 < scenario.duration <= MAX_HOURS * 3600:
        raise BadScenario(
            f"duration: {scenario.duration} s refused: more than 0 and at most {MAX_HOURS} h"
        )
    switches = {*Guards.__struct_fields__, *RULES}
    for guard in scenario.guards_off:
        if guard not in switches:
            raise BadScenario(f"guard: {guard!r} refused: one of {', '.join(sorted(switches))}")
    for action in scenario.script:
        check_action(action, scenario)
