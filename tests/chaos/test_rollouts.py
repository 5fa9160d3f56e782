"""Real processes: a rollout in every state of rollouts and stages, and a node that is killed.

What was seen is the table in tests/README.md, "Killed in each state of a rollout".
"""

import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from stationkeep.node.chaos.constellation import Constellation
from tests.chaos.rolling import FORMER, PATIENCE, Crew, Gate

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

OPENED = "draft running all:deploying"
OVER = "all:soaking all:passed succeeded"
STORIES = {
    "draft": f"draft | running all:deploying {OVER}",
    "wanted": f"draft awaiting_approval approved | approved running all:deploying {OVER}",
    "unopened": f"draft running | all:deploying {OVER}",
    "frozen": f"{OPENED} | {OVER}",
    "closed": f"{OPENED} | {OVER}",
    "ahead": f"{OPENED} | {OVER}",
    "behind": f"{OPENED} | {OVER}",
    "installing": f"draft running half:deploying | half:soaking half:passed all:deploying {OVER}",
    "forced": "draft running half:deploying half:promoted all:deploying | "
    f"half:soaking half:passed {OVER}",
    "asking": f"{OPENED} all:soaking all:validating | all:passed succeeded",
    "granted": f"{OPENED} all:soaking all:validating all:approved | "
    "all:approved all:passed succeeded",
    "doubted": f"{OPENED} all:soaking all:inconclusive paused | all:deploying running {OVER}",
    "paused": f"{OPENED} paused | running {OVER}",
    "failed": f"{OPENED} all:soaking all:validating all:failed paused | "
    "all:passed running succeeded",
    "blocked": f"{OPENED} paused | running {OVER}",
    "aborting": f"{OPENED} all:stopped aborting | aborted",
    "returning": f"{OPENED} all:soaking all:validating all:failed rolling_back | rolled_back",
    "aborted": "draft all:stopped aborted |",
    "returned": f"{OPENED} {OVER} rolling_back rolled_back |",
    "succeeded": f"{OPENED} {OVER} | rolling_back rolled_back",
    "following": f"{OPENED} all:soaking all:passed | "
    "follow:deploying follow:soaking follow:pending",
    "soaking": f"{OPENED} all:soaking | all:passed succeeded",
    "interrupted": f"{OPENED} paused | running {OVER}",
}
"""Rollouts, named by where they are at the bar, when a node is killed, and their whole timeline."""
LATE = ("soaking", "interrupted")
"""What these wait for comes by itself: they begin last."""
WHY = {
    "unopened": "freeze:everything",
    "frozen": "freeze:labelled",
    "closed": "window_closed",
    "behind": "preempted:ahead",
    "paused": "operator",
    "interrupted": "operator",
    "aborting": "operator",
    "aborted": "operator",
    "doubted": "inconclusive:all:failures",
    "failed": "failed:all:webhook",
    "blocked": "blocked:failed",
    "returning": "all:webhook",
}
"""The reason that some show at the bar for being there, or for what holds them."""
ALL = {"name": "all", "ring": "all"}
HALVES = [{"name": "half", "ring": "all", "share": "50%"}, ALL]
PLANS: dict[str, dict[str, Any]] = {
    "wanted": {"approvals": 2},
    "unopened": {"overrides": []},
    "closed": {"devices": [], "scope": "hold=window", "timezone": "device"},
    "ahead": {"priority": 600},
    "behind": {"devices": ["ahead-1"]},
    "installing": {"stages": HALVES},
    "forced": {"stages": HALVES},
    "granted": {"gates": {"health": False, "approval": 2}},
    "doubted": {"retries": 0},
    "failed": {"on_fail": "pause"},
    "following": {"follow": "1h"},
    "soaking": {"gates": {}, "stages": [ALL | {"share": "50%", "soak": "20s"}]},
}
"""Where a plan differs from that of the others. Of a soak that is looked at half are the twins."""
ASKING = ("asking", "failed", "returning")
"""Whose stages ask a webhook; the last two are told no."""
CREWS = {"behind": 0, "installing": 2, "forced": 2, "following": 2, "soaking": 4}
"""How many devices are there for it, if not one."""
NEWCOMER = "following-2"
LABELS = {
    "frozen-1": {"hold": "freeze"},
    "closed-1": {"hold": "window", "tz": "Etc/GMT-12"},
}


def to_the_bar(rollout: str) -> list[str]:
    return STORIES[rollout].partition("|")[0].split()


def to_the_end(rollout: str) -> list[str]:
    return STORIES[rollout].replace("|", "").split()


def crew_of(rollout: str) -> list[str]:
    return [f"{rollout}-{number + 1}" for number in range(CREWS.get(rollout, 1))]


EVERYBODY = [device for rollout in STORIES for device in crew_of(rollout)]


def word(moment: dict[str, Any]) -> str:
    """A line of a timeline as `STORIES` has it."""
    return f"{moment['stage']}:{moment['state']}" if moment["stage"] else str(moment["state"])


def window_now() -> str:
    """Five hours around this one, by UTC."""
    hour = datetime.now(UTC).hour
    return f"{(hour - 2) % 24:02d}:00-{(hour + 3) % 24:02d}:00"


class Stage:
    """A rollout in each state, each with devices of its own, all of which one node serves."""

    def __init__(self, cluster: Constellation) -> None:
        self.cluster, self.gate, self.crew = cluster, Gate(), Crew(cluster)
        leader = cluster.leader()
        self.serving = next(node for node in cluster.addresses if node != leader)
        self.versions = {rollout: f"2.0.{number}" for number, rollout in enumerate(STORIES)}
        self.versions["blocked"] = self.versions["failed"]

    # -- what operators do and see -------------------------------------------------------------

    def order(self, path: str, body: Any = None, actor: str = "eve", method: str = "POST") -> None:
        """A write that is done once, however often it has to be said."""
        headers = {"Idempotency-Key": f"{method} {path}", "X-Stationkeep-Actor": actor}

        def done() -> bool:
            url = f"http://{self.cluster.addresses[self.cluster.local.running()[0]]}{path}"
            try:
                answer = httpx.request(method, url, json=body, headers=headers, timeout=15)
            except httpx.TransportError as error:
                raise ConnectionError(str(error)) from error
            assert answer.status_code == 429 or not answer.is_client_error, answer.text
            return answer.status_code in (200, 201)

        self.cluster.until(f"{method} {path} is done", done)

    def tell(self, rollout: str, verb: str, actor: str = "eve", **body: Any) -> None:
        self.order(f"/v1/rollouts/{rollout}/{verb}", body, actor)

    def approve(self, rollout: str, actor: str, **body: Any) -> None:
        self.tell(rollout, "approve", actor, digest=self.seen(rollout)["digest"], **body)

    def lay_down(self, rollout: str) -> None:
        webhook = {"webhook": self.gate.url} if rollout in ASKING else {}
        plan = {
            "artifact": {"version": self.versions[rollout]},
            "devices": crew_of(rollout),
            "stages": [ALL],
            "rest": False,
            "first": 0,
            "gates": {"health": False} | webhook,
            "overrides": ["everything"],
        } | PLANS.get(rollout, {})
        if rollout == "closed":
            plan["window"] = window_now()
        self.order("/v1/rollouts", {"rollout": rollout, "plan": plan}, f"author of {rollout}")

    def seen(self, rollout: str) -> dict[str, Any]:
        found: dict[str, Any] = self.cluster.anyone(f"/v1/rollouts/{rollout}")
        return found

    def story(self, rollout: str) -> list[str]:
        return [word(moment) for moment in self.seen(rollout)["timeline"]]

    def tasks(self, rollout: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cluster.anyone(f"/v1/rollouts/{rollout}/tasks")["items"]
        return found

    def devices(self) -> dict[str, dict[str, Any]]:
        return {d["id"]: d for d in self.cluster.anyone("/v1/devices?limit=1000")["items"]}

    def reaches(self, rollout: str, *words: str) -> None:
        """Waits until its timeline has these words."""
        with suppress(TimeoutError):
            self.cluster.until("it has", lambda: {*words} <= {*self.story(rollout)}, PATIENCE)
        story = self.story(rollout)
        assert {*words} <= {*story}, (rollout, story)

    def installs(self, *devices: str, times: int = 1) -> None:
        runs = self.crew.runs
        self.cluster.until(
            f"{devices} install", lambda: all(len(runs[device]) == times for device in devices)
        )

    # -- to the bar ----------------------------------------------------------------------------

    def begin(self) -> None:
        """Each comes to where it waits, and stays there."""
        self._gather()
        for freeze, body in (("everything", {}), ("labelled", {"selector": "hold=freeze"})):
            self.order(f"/v1/freezes/{freeze}", {"duration": "1h"} | body, method="PUT")
        for rollout in [name for name in STORIES if name not in LATE]:
            self.lay_down(rollout)
            if rollout not in ("draft", "aborted", "behind"):
                self.tell(rollout, "start")
        self.installs("ahead-1")
        self.tell("behind", "start")
        self._have_judged()
        self._have_ordered()
        for rollout in STORIES:
            if rollout in LATE:
                self._begin_late(rollout)
            self.reaches(rollout, *to_the_bar(rollout))

    def _gather(self) -> None:
        """Starts all devices. One that a slow moment has driven to another node starts again."""
        names = [name for name in EVERYBODY if name != NEWCOMER]
        for name in names:
            self.crew.start(name, self.serving, **LABELS.get(name, {}))
        assert self.devices().keys() == {*names}
        while astray := [d for d in self.devices().values() if d["served_by"] != self.serving]:
            name = astray[0]["id"]
            self.crew.start(name, self.serving, **LABELS.get(name, {}))

    def _have_judged(self) -> None:
        """Those whose first devices are over at the bar."""
        self.installs("blocked-1", "doubted-1")
        self.crew.failing.add("doubted-1")
        self.crew.goes_on(*(f"{rollout}-1" for rollout in (
            "asking", "granted", "doubted", "failed", "returning", "returned", "succeeded",
            "following",
        )))  # fmt: skip
        self.gate.says("failed", "fail")
        self.reaches("returning", "all:validating")
        self.crew.holds("returning-1")
        self.gate.says("returning", "fail")
        self.installs("returning-1", times=2)
        self.cluster.until("somebody asks", lambda: self.gate.asked["asking"])

    def _have_ordered(self) -> None:
        """What operators have said of some before the bar."""
        self.tell("aborted", "abort")
        self.approve("wanted", "ada")
        self.reaches("granted", "all:validating")
        self.approve("granted", "ada", stage="all")
        self.installs("paused-1", "aborting-1")
        self.tell("paused", "pause")
        self.tell("aborting", "abort")
        self.reaches("returned", "succeeded")
        self.tell("returned", "rollback")
        self.cluster.until("one of each installs", self._half_install)
        self.tell("forced", "promote", force=True)
        self.installs(*crew_of("forced"))

    def _half_install(self) -> bool:
        halves = [crew_of("installing"), crew_of("forced")]
        return all(sum(len(self.crew.runs[device]) for device in half) == 1 for half in halves)

    def _begin_late(self, rollout: str) -> None:
        self.lay_down(rollout)
        self.tell(rollout, "start")
        if rollout == "interrupted":
            self.installs("interrupted-1")
            self.tell(rollout, "pause", duration="20s")
        else:
            self.crew.goes_on(*crew_of(rollout))

    # -- and beyond ----------------------------------------------------------------------------

    def go_on(self) -> None:
        """What each waits for happens."""
        later = {task["device"] for task in self.tasks("forced") if task["stage"] == "all"}
        self.crew.failing.clear()
        self.crew.goes_on(*{*EVERYBODY} - later)
        self.gate.says("asking", "pass")
        self.tell("draft", "start")
        self.approve("wanted", "ben")
        self.approve("granted", "ben", stage="all")
        for freeze in ("everything", "labelled"):
            self.order(f"/v1/freezes/{freeze}", method="DELETE")
        self.crew.start("closed-1", **LABELS["closed-1"] | {"tz": "UTC"})
        self.crew.start(NEWCOMER)
        self.tell("doubted", "retry")
        self.order(f"/v1/artifacts/app/{self.versions['failed']}:unblock", {})
        for rollout in ("doubted", "paused", "blocked"):
            self.tell(rollout, "resume")
        self.tell("failed", "promote", force=True)
        self.tell("succeeded", "rollback")
        self.reaches("forced", "half:passed")
        self.crew.goes_on(*later)
        for rollout in STORIES:
            self.reaches(rollout, *to_the_end(rollout))

    def end(self) -> None:
        self.gate.end()
        self.crew.end()


@pytest.fixture
def stage(constellation: Constellation) -> Iterator[Stage]:
    constellation.up(nodes=3)
    made = Stage(constellation)
    try:
        # A device that is not answered within half an interval asks another node: not before the
        # kill, unless the machine is very slow. And no task runs out while it is held.
        settings = {"device_status_interval": "5s", "device_offline_after": "60s",
                    "unhealthy_statuses": 1, "offer_timeout": "60s", "progress_timeout": "200s",
                    "task_timeout": "200s", "soak": "1s"}  # fmt: skip
        made.order("/v1/config", settings, method="PATCH")
        yield made
    finally:
        made.end()


@pytest.mark.parametrize("victim", ["leader", "serving node"])
def test_killed_in_any_state_of_a_rollout_it_goes_on_from_there(
    constellation: Constellation, stage: Stage, victim: str
) -> None:
    stage.begin()
    assert not any(map(stage.crew.runs.get, ["unopened-1", "frozen-1", "closed-1"]))
    at_the_bar = {rollout: stage.seen(rollout) for rollout in STORIES}
    node = constellation.leader() if victim == "leader" else stage.serving
    killed = time.time() * 1_000
    constellation.kill(node)
    for rollout, seen in at_the_bar.items():
        assert [word(moment) for moment in seen["timeline"]] == to_the_bar(rollout)
        assert WHY.get(rollout, "") in (seen["reason"], (seen["held"] or {}).get("reason"))
    stage.go_on()

    for rollout in STORIES:
        ended_as_told(stage, rollout, killed)
    installed_once(stage)
    asked_anew_and_recorded_once(stage, "" if node == stage.serving else node)
    constellation.local.start(node)
    constellation.until(
        "all replicas are equal",
        lambda: len(found := constellation.digests()) == 3 and len(set(found.values())) == 1,
    )


def ended_as_told(stage: Stage, rollout: str, killed: float) -> None:
    """Its state, its figures, and every line of its timeline once, at its side of the bar."""
    seen, told, before = stage.seen(rollout), to_the_end(rollout), len(to_the_bar(rollout))
    assert [word(moment) for moment in seen["timeline"]] == told
    assert all(m["wall_ms"] < killed for m in seen["timeline"][:before]), rollout
    assert all(m["wall_ms"] > killed for m in seen["timeline"][before:]), rollout
    assert seen["state"] == [state for state in told if ":" not in state][-1]
    updated = {"aborting": 0, "aborted": 0, "behind": 1, "soaking": 2}
    assert (rollout, seen["updated"]) == (rollout, updated.get(rollout, CREWS.get(rollout, 1)))
    approved = ["ada", "ben"] if rollout in ("wanted", "granted") else []
    assert [approval["actor"] for approval in seen["approvals"]] == approved
    if seen["state"] == "rolled_back":
        outcome = {"back": 1, "pending": 0, "failed": 0, "stranded": 0}
        assert seen["rollback"].items() >= outcome.items()
    assert seen["in_flight"] == 0


def installed_once(stage: Stage) -> None:
    """By each device, but by those that went back, and the one that was to try again."""
    runs: defaultdict[str, list[str]] = defaultdict(list)
    for rollout in STORIES:
        tasks, attempts = stage.tasks(rollout), 2 if rollout == "doubted" else 1
        for task in tasks:
            assert (task["state"], task["attempt"]) == ("succeeded", attempts), task
            runs[task["device"]] += [stage.versions[rollout]] * attempts
            runs[task["device"]] += [FORMER] * ("rolled_back" in to_the_end(rollout))
        assert len({task["device"] for task in tasks}) == len(tasks), rollout
    assert {device: found for device, found in stage.crew.runs.items() if found} == runs
    for name, device in stage.devices().items():
        assert (name, device["app_version"]) == (name, [FORMER, *runs[name]][-1])


def asked_anew_and_recorded_once(stage: Stage, dead_leader: str) -> None:
    """With one id at every try; by a successor, if it was the leader that died."""
    for asked in stage.gate.asked.values():
        assert len({message for message, _ in asked}) == 1
    askers = [node for _, node in stage.gate.asked["asking"]]
    if dead_leader:
        assert (askers[0], dead_leader in askers[-1:]) == (dead_leader, False)
    decisions = stage.cluster.anyone("/v1/decisions?limit=1000&about=rollouts")["items"]
    verdicts = [d["facts"]["rollout"] for d in decisions if d["matter"] == "webhook_gate"]
    assert Counter(verdicts) == dict.fromkeys(ASKING, 1)
