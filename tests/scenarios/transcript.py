"""Golden transcripts: a small language for what happens, and the full answer of the cluster.

A file is a list of blocks separated by blank lines. Lines that begin with `#` are prose. Any
other block is one command, a ruler, and what came of it:

    T+90 samples 0.45 0.10 0.10 0.10
    ----
    evaluation 17: sat-001 0.45 (3 in a row, DEGRADED) · sat-002 0.10 …

The runner plays the commands and compares its own output with the file's. tests/README.md lists
the commands.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from stationkeep.cluster import commands
from stationkeep.cluster.apply import Applied, Rejected
from stationkeep.cluster.explain import explain
from stationkeep.cluster.registry import alive, cooldown_remaining
from stationkeep.cluster.roles.actions import pending_for
from stationkeep.cluster.roles.health import failure_mode
from stationkeep.cluster.roles.proposals import judge
from stationkeep.cluster.sentences import proposal_sentence, say_ballot, say_risk, sentence
from stationkeep.cluster.settings import (
    PPM,
    PROFILES,
    format_duration,
    parse,
    parse_changes,
    parse_duration,
)
from stationkeep.cluster.state import codec
from stationkeep.cluster.state.events import (
    ActionAcknowledged,
    ActionClosed,
    ActionOpened,
    AlarmCleared,
    AlarmRaised,
    AnyEvent,
    Decided,
    PauseChanged,
    ProposalClosed,
    ProposalOpened,
    RoleChanged,
    SamplesRecorded,
    SeatActivated,
    SettingsChanged,
    VoteCounted,
)
from stationkeep.cluster.state.state import Member
from tests.cluster.driver import Driver, Risk, settled
from tests.scenarios import devices

RULER = "----"


class ScenarioError(Exception):
    """A scenario file that cannot be played; names the line."""


def replay(text: str) -> str:
    """The same transcript with the cluster's own output."""
    player = Player()
    blocks = []
    for block in text.strip("\n").split("\n\n"):
        lines = block.split("\n")
        given = lines[: lines.index(RULER)] if RULER in lines else lines
        orders = [line for line in given if not line.startswith("#")]
        if not orders:
            blocks.append(block)
            continue
        if len(orders) > 1:
            raise ScenarioError(f"one command a block, not {orders}")
        try:
            output = list(player.play(orders[0]))
        except (KeyError, ValueError, IndexError) as error:
            raise ScenarioError(f"{orders[0]}: {error!r}") from error
        blocks.append("\n".join([*given, RULER, *(output or ["nothing to tell"])]))
    return "\n\n".join(blocks) + "\n"


def check(path: Path, rewrite: bool) -> tuple[str, str]:
    """(expected, actual) of a scenario file; with `rewrite` the file is brought up to date."""
    expected = path.read_text(encoding="utf-8")
    actual = replay(expected)
    if rewrite and actual != expected:
        path.write_text(actual, encoding="utf-8")
        expected = actual
    return expected, actual


class Player:
    """Plays one command line after another on a `Driver`; `origin` is the cluster time of T+0."""

    def __init__(self) -> None:
        self.driver = Driver(1)
        self.devices = devices.Devices(self.driver, self.tell)
        self.origin = 0
        self.verbs: dict[str, Callable[[list[str]], Iterator[str]]] = {
            "begin": self.begin,
            "samples": self.samples,
            "renew": self.renew,
            "votes": self.votes,
            "acknowledges": self.acknowledges,
            "fails": self.fails,
            "time": self.time,
            "table": self.table,
            "explain": self.explain,
            "counters": self.counters,
            "restart": self.restart,
            "eve": self.operator,
        }

    def play(self, line: str) -> Iterator[str]:
        """What comes of one command line."""
        words = line.split()
        if words[0].startswith("T+"):
            self.driver.clock = self.origin + round(float(words.pop(0)[2:]) * 1_000)
        verbs = self.verbs | self.devices.verbs
        yield from verbs[words[0]](words[1:])

    def do(self, command: commands.Command, actor: str = "", reason: str = "") -> Iterator[str]:
        key = f"op-{len(self.driver.log)}" if actor else ""
        yield from self.tell(self.driver.do(command, key, actor, reason))

    def tell(self, applied: Applied) -> Iterator[str]:
        if isinstance(applied.outcome, Rejected):
            yield f"refused ({applied.outcome.reason}): {applied.outcome.detail}"
        for event in applied.events:
            yield from self.say(event)

    # The cluster and its leader

    def begin(self, words: list[str]) -> Iterator[str]:
        """begin PROFILE NODES [settled] [SETTING=VALUE…]"""
        profile, nodes, *rest = words
        changes = dict(word.split("=") for word in rest if "=" in word)
        settings = parse({f: _value(v) for f, v in changes.items()}, PROFILES[profile])
        make = settled if "settled" in rest else Driver
        self.driver = make(int(nodes), settings)
        self.devices = devices.Devices(self.driver, self.tell)
        self.origin = self.driver.clock
        yield from self.table([])

    def samples(self, words: list[str]) -> Iterator[str]:
        """samples RISK|missed… in the order of the nodes; then the leader's plan, if any."""
        risks: list[Risk] = [None if word == "missed" else float(word) for word in words]
        yield from self.tell(self.driver.sample(*risks))
        plan = self.driver.plan()
        if plan.differs_from(self.driver.state):
            yield from self.tell(self.driver.adopt(plan))

    def renew(self, words: list[str]) -> Iterator[str]:
        """renew [NODE…]: the leader echoes a fresh report of these nodes, or of the alive"""
        self.driver.renew(*(words or alive(self.driver.state, self.driver.clock)))
        for event in self.driver.events:
            yield from self.say(event)

    def time(self, _: list[str]) -> Iterator[str]:
        """time passes"""
        yield from self.do(commands.AdvanceTime())

    def restart(self, _: list[str]) -> Iterator[str]:
        """restart: the replica goes on from its snapshot"""
        before = codec.digest(self.driver.state)
        self.driver.state = codec.decode_snapshot(codec.encode_snapshot(self.driver.state))
        assert codec.digest(self.driver.state) == before
        yield "same digest"

    # Voters and nodes

    def votes(self, words: list[str]) -> Iterator[str]:
        """votes VOTER… [NODE=RISK|NODE=silent…] [on PROPOSAL]: each judges on what it heard,
        which is the newest sample unless told otherwise"""
        state = self.driver.state
        number = int(words[words.index("on") + 1]) if "on" in words else max(state.proposals)
        heard = {
            node: (0 if member.history[-1].missed else 6, member.risk)
            for node, member in state.members.items()
            if member.history
        }
        for word in words:
            if "=" in word:
                node, risk = word.split("=")
                heard[node] = (0, PPM) if risk == "silent" else (6, round(float(risk) * PPM))
        seen = {node: commands.Observation(node, *sample) for node, sample in heard.items()}
        for voter in (word for word in words if word in state.members):
            if number not in state.proposals:
                yield f"{voter}: nothing left to vote on"
                continue
            vote = judge(state, state.proposals[number], voter, seen)
            yield from self.do(vote)

    def acknowledges(self, words: list[str]) -> Iterator[str]:
        """acknowledges NODE…|all: each enacts everything it was told"""
        for node in self.driver.ids if words == ["all"] else words:
            for action in pending_for(self.driver.state, node):
                yield from self.do(commands.Acknowledge(action.id, node, True))

    def fails(self, words: list[str]) -> Iterator[str]:
        """fails NODE DETAIL: its hook fails for everything it was told"""
        node, *detail = words
        for action in pending_for(self.driver.state, node):
            yield from self.do(commands.Acknowledge(action.id, node, False, " ".join(detail)))

    # The operator

    def operator(self, words: list[str]) -> Iterator[str]:
        """eve COMMAND… [because REASON]: a command of the operator of that name"""
        reason = ""
        if "because" in words:
            at = words.index("because")
            words, reason = words[:at], " ".join(words[at + 1 :])
        yield from self.do(_order(words[0], words[1:]), "eve", reason)

    # Looking

    def table(self, _: list[str]) -> Iterator[str]:
        """table: the members, the seat, what is open, the alarms"""
        state = self.driver.state
        for member in state.members.values():
            yield f"{member.id}  {member.role:<9}  {self.health(member)}"
        seat = state.seat
        if seat.holder is None:
            yield "seat: empty"
        else:
            waits = "active" if seat.active else f"waits for {seat.predecessor}"
            yield f"seat: {seat.holder}, epoch {seat.epoch}, {waits}"
        yield from (f"open: {proposal_sentence(p)}" for p in state.proposals.values())
        yield from (f"alarm: {alarm.id}: {alarm.detail}" for alarm in state.alarms.values())

    def health(self, member: Member) -> str:
        if member.joining:
            return "joining"
        rest = cooldown_remaining(self.driver.state, member, self.driver.clock)
        marks = [failure_mode(member, self.driver.state.settings).value]
        marks += [f"run {member.run}"] if member.run else []
        marks += [f"cool-down {format_duration(rest)}"] if rest else []
        marks += ["in maintenance"] if member.maintenance_until is not None else []
        marks += [f"escalated by {member.escalated_by}"] if member.escalated_by else []
        marks += [f"priority {member.priority}"] if member.priority != 100 else []
        return ", ".join(marks)

    def explain(self, words: list[str]) -> Iterator[str]:
        """explain NODE: why it is what it is, why it is not PRIMARY, its newest decisions"""
        story = explain(self.driver.state, words[0])
        yield from story.summary
        yield from (f"not PRIMARY: {line}" for line in story.why_not_primary)
        yield from (f"{self.clock(d.at)} {sentence(d)}" for d in story.decisions)

    def counters(self, _: list[str]) -> Iterator[str]:
        """counters: what the metrics are made of"""
        counters = self.driver.state.counters
        for name in ("role_changes", "proposals", "votes", "flapping_blocked"):
            table = getattr(counters, name)
            yield f"{name}: " + (", ".join(f"{k} {v}" for k, v in sorted(table.items())) or "none")
        took = [format_duration(milliseconds) for milliseconds in counters.failover_ms]
        yield f"failovers: {', '.join(took) or 'none'}"

    def clock(self, at: int) -> str:
        return f"T{(at - self.origin) / 1_000:+g}"

    def say(self, event: AnyEvent) -> Iterator[str]:
        """One line for an event that anybody may want to see; a decision as its sentence."""
        match event:
            case Decided(decision):
                yield f"decision {decision.id}: {sentence(decision)}"
            case SamplesRecorded(evaluation):
                yield f"evaluation {evaluation}: " + " · ".join(map(self.sample, self.members()))
            case RoleChanged(node, origin, target, rule, epoch):
                yield f"{node}: {origin} → {target} ({rule}, epoch {epoch})"
            case SeatActivated(holder, epoch, _):
                yield f"{holder} is PRIMARY, epoch {epoch}, effective from {self.now}"
            case ProposalOpened(number):
                proposal = self.driver.state.proposals[number]
                yield f"proposal {number} asks {', '.join(proposal.electorate)} until " + (
                    self.clock(proposal.deadline)
                )
            case VoteCounted(number, voter, _):
                known = [self.driver.state.proposals.get(number)]
                known += [p for p in self.driver.state.closed_proposals if p.id == number]
                yield from (say_ballot(p.ballots[voter]) for p in known if p is not None)
            case ProposalClosed(number, outcome):
                yield f"proposal {number}: {outcome}"
            case ActionOpened(number):
                action = self.driver.state.actions[number]
                yield f"{number} {action.name}: {', '.join(action.targets)} until " + (
                    self.clock(action.deadline)
                )
            case ActionAcknowledged(number, node, success):
                yield f"{number}: {node} {'done' if success else 'failed'}"
            case ActionClosed(number, outcome, compliance):
                yield f"{number}: {outcome}, compliance {100 * compliance // PPM} %"
            case AlarmRaised() | AlarmCleared():
                return  # the decision beside it says so
            case PauseChanged(until):
                yield "not paused" if until is None else f"paused until {self.clock(until)}"
            case SettingsChanged(fields):
                yield f"settings changed: {', '.join(fields)}"
            case _:
                yield from devices.say(self.driver.state.fleet, event)

    @property
    def now(self) -> str:
        return self.clock(self.driver.clock)

    def members(self) -> list[Member]:
        return list(self.driver.state.members.values())

    def sample(self, member: Member) -> str:
        if not member.history:
            return f"{member.id} joining"
        run = f" ({member.run} in a row)" if member.run else ""
        return f"{member.id} {say_risk(member.history[-1].figure)}{run}"


def _value(text: str) -> object:
    return (
        float(text)
        if text.replace(".", "", 1).isdigit() and "." in text
        else (int(text) if text.isdigit() else text)
    )


def _order(verb: str, words: list[str]) -> commands.Command:
    """An operator's command as a line says it."""
    about_devices = devices.order(verb, words)
    if about_devices is not None:
        return about_devices
    match verb, words:
        case "switchover", targets:
            return commands.Switchover(targets[0] if targets else None)
        case "failover", [target, *force]:
            return commands.Failover(target, force == ["--force"])
        case "pause", [duration]:
            return commands.Pause(parse_duration("duration", duration))
        case "resume", []:
            return commands.Resume()
        case "maintenance", [node, "off"]:
            return commands.SetMaintenance(node, 0)
        case "maintenance", [node, duration]:
            return commands.SetMaintenance(node, parse_duration("duration", duration))
        case "priority", [node, priority]:
            return commands.SetPriority(node, int(priority))
        case "policy", [node, name, "off"]:
            return commands.RemovePolicy(node, name)
        case "policy", [node, name, priority, score, *patterns]:
            weight = round(float(score) * PPM)
            return commands.PutPolicy(node, name, priority, weight, tuple(patterns))
        case "config", changes:
            written = dict(change.split("=") for change in changes)
            return commands.ChangeSettings(
                parse_changes({field: _value(value) for field, value in written.items()})
            )
        case "action", [name, *targets]:
            return commands.RunAction(name, tuple(targets))
    raise ValueError(f"no such command: {verb} {words}")
