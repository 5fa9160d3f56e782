"""What is computed, counted over the real core: every figure within its 99.9 % interval.

The seeds are fixed, so these do not fail by chance; a change that makes one fail made the
figures differ, or drew other numbers.
"""

import random
from itertools import islice

import pytest

from stationkeep.cluster.odds import Loss, Model, forecast
from stationkeep.cluster.odds.failover import quantile
from stationkeep.cluster.odds.forecast import false_alarm, frequent, healing, watch
from stationkeep.cluster.odds.trial import Air, Core, estimate, failures, false_alarms
from stationkeep.cluster.settings import PROFILES, Settings, parse
from stationkeep.cluster.transitions import Rule

ORBIT, DEMO = PROFILES["orbit"], PROFILES["demo"]
CASES = [
    (ORBIT, Loss(0.2), 5),
    (ORBIT, Loss(0.2, 10.0), 5),
    (DEMO, Loss(0.3, 0.5), 3),
    (parse({"proposal_timeout": 19, "evaluation_interval": 16, "primary_lease": 45,
            "raft_heartbeat": 0.5}, ORBIT), Loss(0.2, 20.0), 4),
    (parse({"heartbeat_timeout": 120}, ORBIT), Loss(0.3), 4),  # the dead is still an elector
]  # fmt: skip


@pytest.mark.parametrize(("settings", "loss", "nodes"), CASES)
@pytest.mark.parametrize("model", list(Model))
@pytest.mark.parametrize("rule", [Rule.PRIMARY_FAILED, Rule.ISOLATE])
def test_false_alarms_come_as_often_as_computed(
    settings: Settings, loss: Loss, nodes: int, model: Model, rule: Rule
) -> None:
    primary = rule is Rule.PRIMARY_FAILED
    length = settings.failures_to_fail_primary if primary else settings.failures_to_safe_mode
    raised = frequent(settings, loss, nodes, model, failures=length, samples=30)
    draw = random.Random(7).random
    counted = false_alarms(settings, raised, nodes, model, rule=rule, draw=draw)
    computed = false_alarm(settings, watch(settings, raised, nodes, model), length)
    assert estimate(list(islice(counted, 200))).covers(computed)


@pytest.mark.parametrize(("settings", "loss", "nodes"), CASES)
@pytest.mark.parametrize("model", list(Model))
def test_failures_are_noticed_and_replaced_when_computed(
    settings: Settings, loss: Loss, nodes: int, model: Model
) -> None:
    draw = random.Random(11).random
    pairs = list(islice(failures(settings, loss, nodes, model, draw=draw), 500))
    outlook = forecast(settings, loss, nodes).outlooks[model]
    assert estimate([noticed for noticed, _ in pairs]).covers(outlook.detection.mean)
    assert estimate([healed for _, healed in pairs]).covers(outlook.failover.mean)
    assert max(noticed for noticed, _ in pairs) <= outlook.detection.longest
    # Not only the mean: the share below each quantile, too.
    _, healed = healing(settings, loss, nodes, watch(settings, loss, nodes, model))
    for share in (0.25, 0.5, 0.9):
        bound = quantile(healed, share)
        below = [float(h <= bound) for _, h in pairs]
        assert estimate(below).covers(healed.by(bound))


def test_heavy_loss_leaves_its_mark_on_the_detection_of_failures() -> None:
    """Runs that losses left before the failure make detection faster, not slower."""
    loss = Loss(0.6)
    outlook = forecast(ORBIT, loss, 5).outlooks["uplink"]
    assert outlook.detection.mean < forecast(ORBIT, Loss(0.0), 5).outlooks["uplink"].detection.mean
    pairs = islice(failures(ORBIT, loss, 5, Model.UPLINK, draw=random.Random(3).random), 300)
    assert estimate([noticed for noticed, _ in pairs]).covers(outlook.detection.mean)


@pytest.mark.parametrize("relays", [0, 2])
def test_the_air_is_as_silent_as_the_matrices_say(relays: int) -> None:
    loss = Loss(0.7, 10.0)
    seen = watch(ORBIT, loss, relays + 2 if relays else 3, Model.LINKS if relays else Model.UPLINK)
    air = Air(loss, random.Random(5).random, seen.relays, seen.spacing)
    silent = []
    for _ in range(2_000):
        air.restart()
        silent.append(float(not air.heard(seen.reports, 3)))
    assert estimate(silent).covers(float(seen.part.stationary @ seen.part.silent[3]))


def test_the_core_is_settled_and_healthy() -> None:
    core = Core(ORBIT, 5)
    assert not core.evaluate(core.names[0], heard=True).motions
    for _ in range(2):
        assert not core.evaluate(core.names[0], heard=False).motions
    (motion,) = core.evaluate(core.names[0], heard=False).motions
    assert motion.rule is Rule.PRIMARY_FAILED
    core.restart()
    assert not core.evaluate(core.names[0], heard=False).motions
