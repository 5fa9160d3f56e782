"""Which webhooks lag, as any node can tell from the state."""

from stationkeep.cluster.commands import RecordDelivery
from stationkeep.node.config.webhooks import Secret, WebhookConfig
from stationkeep.node.webhooks.lateness import LATE, late
from tests.node.api.fake import FakeNode

PAGER = WebhookConfig("pager", "https://pager.example/in", Secret(b"k" * 32))
ALARMS = WebhookConfig("alarms", "https://pager.example/in", Secret(b"k" * 32), ("alarms",))


def _told(node: FakeNode, *names: str) -> None:
    for name in names:
        node.commit(RecordDelivery(name, node.state.decisions_made))


def _pass(node: FakeNode, milliseconds: int) -> None:
    node.now += milliseconds
    _told(node, "other")


def test_only_what_a_webhook_owes_for_long_makes_it_late() -> None:
    node = FakeNode().with_primary()
    _told(node, "pager")
    for _ in range(3):
        node.evaluate(sat_001=0.9)
    _told(node, "alarms")
    assert late([PAGER, ALARMS], node.state) == {}
    _pass(node, LATE + 1)
    waited = late([PAGER, ALARMS], node.state)
    assert waited.keys() == {"pager"}
    assert waited["pager"] > LATE
    _told(node, "pager")
    assert late([PAGER, ALARMS], node.state) == {}


def test_a_new_webhook_starts_with_the_next_decision() -> None:
    node = FakeNode().with_primary()
    _pass(node, 2 * LATE)
    assert late([PAGER], node.state) == {}
