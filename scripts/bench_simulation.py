"""How fast the simulator is, and how often a leader is elected at 20 % loss."""

import time

from stationkeep.cluster.odds import Loss, Model, forecast
from stationkeep.cluster.settings import PROFILES
from stationkeep.cluster.transitions import Rule
from stationkeep.node.simulation.campaigns.agreement import observe
from stationkeep.node.simulation.campaigns.campaign import Plan, attempt, quiet, run
from stationkeep.node.simulation.campaigns.summary import summarise
from stationkeep.node.simulation.scenario import Action, Scenario

LOSS = Action(0.0, "weather", ("0.02", "0.03", "0.2", "0"))
"""20 ms to 50 ms a way, every fifth packet lost; TCP sends it again."""


def speed(seconds: float = 3_600.0, load: float = 1.0) -> dict[str, float]:
    """Five nodes, profile orbit, ten client calls a minute, everything checked at every turn. The
    log is compacted as in a real node; campaigns do it hundreds of times as often."""
    plan = Plan(
        faults=("none",), nodes=5, profile="orbit", duration=seconds, load=load, compact=(8_192,)
    )
    scenario = plan.scenario(1)
    with quiet():
        began = time.perf_counter()
        world, outcome = attempt(scenario)
        took = time.perf_counter() - began
    assert world is not None
    assert outcome.ok
    return {
        "simulated_seconds_per_second": seconds / took,
        "turns_per_second": outcome.turns / took,
    }


def campaign(seeds: int = 40) -> dict[str, float]:
    """Seeds a minute on one process, as CI runs them."""
    began = time.perf_counter()
    failed = sum(not run(Plan(), seed).ok for seed in range(seeds))
    return {"seeds_per_minute": seeds * 60 / (time.perf_counter() - began), "violations": failed}


def elections(hours: float = 2.0, runs: int = 10) -> dict[str, float]:
    """Elections beyond the first, per simulated hour at 20 % loss with orbit's timeouts."""
    figures: dict[str, float] = {"hours": hours * runs}
    for name, off in (("per_hour", ()), ("per_hour_without_prevote", ("l2",))):
        changes = 0
        for seed in range(runs):
            scenario = Scenario(
                seed=seed, nodes=5, profile="orbit", duration=hours * 3_600, script=(LOSS,),
                guards_off=off, compact_entries=8_192,
            )  # fmt: skip
            with quiet():
                world, outcome = attempt(scenario)
            assert world is not None
            assert outcome.ok, outcome.detail
            changes += summarise(world).elections
        figures[name] = changes / (hours * runs)
    return figures


LOOPBACK = Action(0.0, "weather", ("0.00003", "0.00002", "0.2", "0"))
"""Every fifth packet lost on a loopback interface, as real clusters were measured."""


def lanes(seconds: float = 1_800.0) -> dict[str, str]:
    """What a fifth of all packets lost does to five nodes, by profile: without the datagram lane
    and fresh streams, without the lane alone, and with both."""
    figures = {}
    for profile in ("demo", "lan", "orbit"):
        for name, datagram, fresh in (
            ("one stream", "off", "off"), ("fresh streams", "off", "on"), ("both", "on", "on"),
        ):  # fmt: skip
            switches = (
                Action(0.0, "lane", ("datagram", datagram)),
                Action(0.0, "lane", ("fresh", fresh)),
            )
            scenario = Scenario(
                seed=1, nodes=5, profile=profile, duration=seconds,
                script=(*switches, LOOPBACK), compact_entries=8_192,
            )  # fmt: skip
            with quiet():
                world, outcome = attempt(scenario)
            assert world is not None
            assert outcome.ok, outcome.detail
            seen = summarise(world)
            figures[f"{profile}, {name}"] = (
                f"{seen.failovers} changes of PRIMARY, {seen.measured - seen.served:.1f} s without "
                f"(at most {seen.longest_gap:.1f}), {seen.elections} changes of leader"
            )
    return figures


REGIMES = (
    (Model.UPLINK, Loss(0.3, 2.0), 3),
    (Model.LINKS, Loss(0.5, 3.0), 3),
    (Model.UPLINK, Loss(0.3, 2.0), 5),
)
"""Far worse than life, so that what `plan` calls rare happens often enough to be counted."""


def agreement(hours: float = 1.0) -> dict[str, str]:
    """Seconds to a false alarm, profile demo: computed by `plan` / counted in whole simulated
    clusters, with the 99.9 % interval of the count and the number of alarms."""
    figures = {}
    for model, loss, nodes in REGIMES:
        told = forecast(PROFILES["demo"], loss, nodes).outlooks[model.value]
        seen = observe(loss, model, nodes=nodes, hours=hours, seed=1)
        for rule, computed in (
            (Rule.PRIMARY_FAILED, told.false_failover),
            (Rule.ISOLATE, told.false_safe_mode),
        ):
            counted = seen.counts[rule].seconds(PROFILES["demo"].evaluation_interval / 1_000)
            name = f"{rule.value}, {model.value} {loss.rate:g} in {loss.burst:g} s, {nodes} nodes"
            figures[name] = (
                f"{computed:.1f} / {counted.mean:.1f} "
                f"({counted.low:.1f} to {counted.high:.1f}, {counted.cases})"
            )
    return figures
