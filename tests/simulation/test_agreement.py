"""`stationkeep plan` computes; whole simulated clusters are counted. They must agree."""

import pytest

from stationkeep.cluster.odds import Loss, Model, forecast
from stationkeep.cluster.settings import PROFILES
from stationkeep.cluster.transitions import Rule
from stationkeep.node.simulation.campaigns.agreement import observe

DEMO = PROFILES["demo"]
HOURS = 0.5


@pytest.mark.parametrize(
    ("model", "loss"), [(Model.UPLINK, Loss(0.3, 2.0)), (Model.LINKS, Loss(0.5, 3.0))]
)
def test_false_alarms_come_as_often_as_computed(model: Model, loss: Loss) -> None:
    told = forecast(DEMO, loss, 3).outlooks[model.value]
    seen = observe(loss, model, nodes=3, hours=HOURS, seed=4)
    for rule, computed in (
        (Rule.PRIMARY_FAILED, told.false_failover),
        (Rule.ISOLATE, told.false_safe_mode),
    ):
        counted = seen.counts[rule].seconds(DEMO.evaluation_interval / 1_000)
        assert counted.cases >= 30, rule
        assert counted.covers(computed), (rule, computed, counted)
        assert seen.changes[rule] <= counted.cases, "votes only prevent"
