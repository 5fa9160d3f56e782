"""A device's link in virtual time: connections stand still, are lost, are late."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stationkeep.cluster.settings import PROFILES
from stationkeep.node.agent import channel, link, patience
from stationkeep.node.agent.device import Identity
from stationkeep.node.agent.link import OVERTAKEN
from stationkeep.node.agent.own_credential import OwnCredentials
from stationkeep.node.agent.turned_away import TurnedAway
from stationkeep.node.security.credentials import Credentials
from stationkeep.node.security.device_secrets import draw as draw_own
from stationkeep.node.security.device_secrets import parse as parse_own
from stationkeep.node.security.tokens import ENROLMENT_PREFIX, draw
from stationkeep.node.wire import messages as wire
from stationkeep.node.wire.messages import Code
from stationkeep.node.wire.tasks import TaskState, TaskUpdatePayload
from tests.node.agent.virtual import NEVER, ONE, TWO, Cluster, Fate, Wire, run

STANDS = Fate(stands=[(10.0, NEVER)])
"""Ten seconds after it was dialled nothing passes any more."""


@pytest.fixture(autouse=True)
def _connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel, "Connection", Wire)


def told(story: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """A test in virtual time."""

    def test() -> None:
        run(story())

    test.__name__, test.__doc__ = story.__name__, story.__doc__
    return test


def in_order(*fates: Fate) -> Callable[[int], Fate]:
    """The first connections have these; all others are well."""
    return lambda number: fates[number] if number < len(fates) else Fate()


async def served(cluster: Cluster, seconds: float) -> None:
    """The link starts, and lives for so long."""
    cluster.link.start()
    await asyncio.sleep(1.0)
    await cluster.live(seconds)


async def left(cluster: Cluster) -> None:
    """Stopped, it leaves nothing behind."""
    cluster.link.stop()
    await cluster.link.closed()
    assert not cluster.open
    assert cluster.tally.connected == 0


@pytest.mark.parametrize("profile", PROFILES)
def test_a_stream_that_stands_is_replaced_before_anyone_counts_the_device_as_gone(
    profile: str,
) -> None:
    settings = PROFILES[profile]
    interval, patience = (
        settings.device_status_interval / 1_000, settings.device_offline_after / 1_000,
    )  # fmt: skip

    async def story() -> None:
        cluster = Cluster(in_order(STANDS), interval)
        await served(cluster, 10 + 2 * patience)
        first_unheard = min(at for at, _, _ in cluster.sent if at > 9.99)
        _, fresh = cluster.dialled
        assert fresh - first_unheard <= patience / 3
        assert cluster.longest_silence(since=0.0) < patience / 2
        assert cluster.gaps == 0
        assert cluster.tally.lost == {link.REPLACED: 1}
        assert [wire.is_open for wire in cluster.wires] == [False, True]
        assert cluster.wires[0].url != cluster.wires[1].url
        await left(cluster)

    run(story())


@told
async def test_a_stream_that_moves_again_keeps_its_device() -> None:
    """What was only being dialled beside it is dropped, and nothing is registered twice."""
    slow = Fate(accepted=3.0)
    cluster = Cluster(in_order(Fate(stands=[(10.0, 12.0)]), slow), 2.0)
    await served(cluster, 30)
    assert len(cluster.wires) == 2
    assert [wire.is_open for wire in cluster.wires] == [True, False]
    assert cluster.tally.failed == {link.NOT_NEEDED: 1}
    assert cluster.tally.registrations == 1
    await left(cluster)


@told
async def test_a_lost_dial_is_followed_by_another_beside_it() -> None:
    cluster = Cluster(in_order(Fate(accepted=NEVER)), 2.0)
    await served(cluster, 1)
    assert cluster.dialled == [0.0, patience.FIRST_PATIENCE]
    assert cluster.link.url == cluster.wires[1].url != cluster.wires[0].url
    assert cluster.open == [cluster.wires[1]]
    await left(cluster)


@told
async def test_beside_a_stream_that_stands_a_lost_dial_is_replaced() -> None:
    lost = Fate(accepted=NEVER)
    cluster = Cluster(in_order(STANDS, lost, lost), 0.5)
    await served(cluster, 20)
    gaps = [b - a for a, b in pairwise(cluster.dialled[1:])]
    assert gaps == pytest.approx([0.7, 1.4])
    assert cluster.gaps == 0
    assert cluster.link.url == cluster.wires[3].url
    await left(cluster)


@told
async def test_a_node_that_waits_for_the_log_is_waited_for() -> None:
    """It has the registration; to register elsewhere would only be another one."""
    cluster = Cluster(in_order(Fate(log=9.0)), 0.5)
    await served(cluster, 12)
    assert len(cluster.wires) == 1
    assert cluster.link.url is not None
    await left(cluster)


@told
async def test_a_registration_that_nobody_takes_in_is_made_elsewhere() -> None:
    cluster = Cluster(in_order(Fate(stands=[(0.02, NEVER)])), 0.5)
    await served(cluster, 2)
    assert cluster.dialled == [0.0, pytest.approx(0.02 + patience.FIRST_PATIENCE)]
    assert cluster.link.url == cluster.wires[1].url
    await left(cluster)


@told
async def test_its_own_new_connection_does_not_take_the_device_over() -> None:
    """The node supersedes the old one, and says so there before the acknowledgement comes."""
    late = Fate(stands=[(0.05, 0.6)])
    cluster = Cluster(in_order(Fate(stands=[(10.0, 11.35)]), late), 0.5)
    await served(cluster, 30)
    assert cluster.tally.errors[Code.SUPERSEDED] == 1
    assert cluster.ends == []
    assert cluster.link.url == cluster.wires[1].url
    assert len(cluster.wires) == 2
    await left(cluster)


@told
async def test_late_words_of_the_old_connection_do_no_harm() -> None:
    """They come in after the registration on the new one, which they are newer than."""
    waits = Fate(log=1.2)
    cluster = Cluster(in_order(Fate(stands=[(10.0, 12.0)]), waits), 0.5)
    await served(cluster, 30)
    assert cluster.ends == []
    assert len(cluster.open) == 1
    assert cluster.holder is cluster.open[0]
    assert cluster.longest_silence(since=12.0) < 1.5
    await left(cluster)


@pytest.mark.parametrize("year", [1970, 2026, 2099])
def test_a_device_gets_in_whatever_its_clock_says(
    monkeypatch: pytest.MonkeyPatch, year: int
) -> None:
    seconds = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    monkeypatch.setattr(time, "time_ns", lambda: seconds * 10**9)

    async def story() -> None:
        cluster = Cluster(in_order(), 10.0)
        await served(cluster, 30.0)
        assert cluster.gaps == 0
        assert cluster.ends == []
        await left(cluster)

    run(story())


@told
async def test_who_speaks_in_its_name_does_not_silence_a_device() -> None:
    """Its words are old in its own session: it begins another."""
    cluster = Cluster(in_order(STANDS), 0.5)
    await served(cluster, 20)
    session, cluster.sequence = cluster.session, 3 << 30
    await cluster.live(60)
    assert cluster.session == session + 1
    assert cluster.ends == []
    assert cluster.longest_silence(since=40.0) < 5
    await left(cluster)


@told
async def test_a_newer_agent_is_noticed_whatever_was_registered_beside() -> None:
    cluster = Cluster(in_order(STANDS), 0.5)
    await served(cluster, 20)
    assert cluster.link.url is not None
    cluster.session += 1
    assert cluster.holder is not None
    cluster.holder.tell(cluster._error(Code.SUPERSEDED))
    await cluster.live(20)
    assert cluster.ends == [OVERTAKEN]
    assert not cluster.open


@told
async def test_a_slow_node_is_not_stormed() -> None:
    """Every answer takes longer than the patience; the device stays, and asks ever more rarely."""
    cluster = Cluster(lambda _: Fate(accepted=3.0, trip=0.8), 0.5)
    await served(cluster, 60)
    assert cluster.link.url is not None
    before, cluster.gaps = len(cluster.wires), 0
    await cluster.live(300)
    assert len(cluster.wires) - before < 300 / 10
    assert cluster.gaps == 0
    await left(cluster)


@told
async def test_when_nobody_is_in_reach_tries_become_rare() -> None:
    cluster = Cluster(lambda _: Fate(accepted=NEVER), 0.5)
    await served(cluster, 600)
    assert 600 / 40 < len(cluster.wires) < 600 / 8
    assert cluster.dialled[:2] == [0.0, patience.FIRST_PATIENCE]
    assert cluster.ends == []
    await left(cluster)


TIMES = st.floats(0.0, 8.0)


@st.composite
def fates(draw: st.DrawFn) -> Fate:
    """What may happen to a connection while the network is bad."""
    begins = sorted(draw(st.lists(st.floats(0.0, 30.0), max_size=4)))
    lengths = [draw(st.one_of(TIMES, st.just(NEVER))) for _ in begins]
    return Fate(
        accepted=draw(st.one_of(st.floats(0.0, 0.3), TIMES, st.just(NEVER))),
        refused=draw(st.booleans()) and draw(st.booleans()),
        trip=draw(st.one_of(st.just(0.01), st.floats(0.0, 0.5))),
        log=draw(st.one_of(st.just(0.02), TIMES)),
        stands=[(begin, begin + length) for begin, length in zip(begins, lengths, strict=True)],
    )


WELL_AGAIN = 40.0
"""Seconds: the longest pause, and a few tries."""


@given(
    some=st.lists(fates(), max_size=12),
    interval=st.sampled_from([0.5, 2.0, 10.0]),
    seed=st.integers(0, 2**16),
)
def test_whatever_happens_to_connections_one_that_works_is_found(
    some: list[Fate], interval: float, seed: int
) -> None:
    """And kept, alone, and nobody takes the device for overtaken. `Cluster` checks the rest."""

    async def story() -> None:
        left_over: Iterator[Fate] = iter(some)
        cluster = Cluster(lambda _: next(left_over, Fate()), interval, seed)
        await served(cluster, 60)
        list(left_over)  # from now on every new connection works
        await cluster.live(WELL_AGAIN + 60)
        at_last = cluster.link.url
        assert at_last is not None
        settled = len(cluster.wires)
        await cluster.live(60)
        assert len(cluster.wires) - settled <= 2  # an old one may stand once more, or die
        assert cluster.ends == []
        assert cluster.holder in cluster.open
        assert cluster.longest_silence(cluster._loop.time() - 20) <= interval * 2
        assert _ordered(cluster.sent)
        await left(cluster)

    run(story())


def _ordered(sent: list[tuple[float, Wire, wire.Said]]) -> bool:
    words = [(said.payload.session, said.payload.sequence) for _, _, said in sent]
    return words == sorted(set(words))


# -- tasks -----------------------------------------------------------------------------------------


class Tasks:
    """`link.TaskListener`: when it was served, and what it was told."""

    def __init__(self, cluster: Cluster) -> None:
        self.served_at: list[float] = []
        self.told_of: list[object] = []
        self.refusals: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._cluster = cluster
        cluster.link = link.Link(
            Identity(device_id="phone", app_version="1.0.0"),
            cluster.addresses, cluster, cluster.tally, self,
        )  # fmt: skip

    def served(self) -> None:
        self.served_at.append(self._loop.time())

    def told(self, message: object) -> None:
        self.told_of.append(message)

    def refused(self, task_id: str) -> None:
        self.refusals.append(task_id)

    def words(self, since: float) -> list[str]:
        """What was said from then on: kinds of messages, registrations with their version."""
        return [
            said.payload.device_status.app_version
            if isinstance(said, wire.Registration) and said.payload.device_status
            else type(said).__name__
            for at, _, said in self._cluster.sent
            if at >= since
        ]


UPDATE = TaskUpdatePayload(task_id="17/phone/1", state=TaskState.SUCCEEDED)
NEWER = Identity(device_id="phone", app_version="2.0.0")


@told
async def test_what_the_device_runs_is_known_before_it_says_how_a_task_went() -> None:
    cluster = Cluster(in_order(Fate(log=1.5)), interval=1.0)
    tasks = Tasks(cluster)
    await served(cluster, 5.0)
    assert len(tasks.served_at) == 1
    now = asyncio.get_running_loop().time()
    cluster.link.renew(NEWER)
    cluster.link.say(UPDATE)  # too early: dropped, since `served` follows
    await cluster.live(1.0)
    assert "TaskUpdate" not in tasks.words(now)
    await cluster.live(1.0)
    assert len(tasks.served_at) == 2
    cluster.link.say(UPDATE)
    words = tasks.words(now)
    assert words[0] == "2.0.0"
    assert words[-1] == "TaskUpdate"
    assert len(cluster.wires) == 1  # all on the same connection
    assert not cluster.ends
    await left(cluster)


@told
async def test_a_version_that_changes_while_no_node_answers_is_the_next_registrations() -> None:
    cluster = Cluster(in_order(Fate(stands=[(10.0, NEVER)])), interval=1.0)
    tasks = Tasks(cluster)
    await served(cluster, 9.5)
    now = asyncio.get_running_loop().time()
    cluster.link.renew(NEWER)
    await cluster.live(10.0)
    assert {word for word in tasks.words(now) if word[0].isdigit()} == {"2.0.0"}
    assert len(tasks.served_at) >= 2
    assert cluster.link.url is not None
    await left(cluster)


@told
async def test_a_registration_under_way_with_the_old_version_does_not_count() -> None:
    cluster = Cluster(in_order(STANDS, Fate(log=3.0)), interval=1.0)
    tasks = Tasks(cluster)
    await served(cluster, 11.5)  # the first stands still; the second has been sent the old version
    now = asyncio.get_running_loop().time()
    assert tasks.words(9.0).count("1.0.0") == 1
    cluster.link.renew(NEWER)
    await cluster.live(15.0)
    assert "2.0.0" in tasks.words(now)
    sent = [said for _, at, said in cluster.sent if at is cluster.holder]
    [registered] = [said for said in sent if isinstance(said, wire.Registration)]
    assert registered.payload.device_status is not None
    assert registered.payload.device_status.app_version == "2.0.0"
    await left(cluster)


@told
async def test_refusals_of_updates_are_told_by_task() -> None:
    cluster = Cluster(in_order(), interval=1.0)
    tasks = Tasks(cluster)
    await served(cluster, 2.0)
    for code in (Code.UNKNOWN_TASK, Code.BUSY):  # the latter is said by a node that may take it yet
        error = wire.ErrorPayload(code, "f", "v", "r", task_id="17/phone/1")
        cluster.wires[0].tell(wire.Error("sat", "phone", error))
    await cluster.live(1.0)
    assert tasks.refusals == ["17/phone/1"]
    assert len(cluster.wires) == 1  # no reason to go elsewhere
    await left(cluster)


# -- who the device is


def away(rule: str, status: int = 401) -> Fate:
    return Fate(away=TurnedAway(status, rule, f"the node answered {status}: {rule}"))


def lived(
    *fates: Fate,
    then: Fate,
    token: str = "",
    credentials: Credentials | None = None,
    seconds: float = 3_600,
) -> Cluster:
    """A link whose first connections have these fates and all others one, after some time."""

    async def story() -> None:
        nonlocal cluster
        fate = lambda number: fates[number] if number < len(fates) else then  # noqa: E731
        cluster = Cluster(fate, 1.0, token=token, credentials=credentials)
        cluster.link.start()
        await asyncio.sleep(seconds)
        await left(cluster)

    cluster: Cluster
    run(story())
    return cluster


@pytest.mark.parametrize("rule", ["unknown", "expired", "malformed", "proxy"])
def test_a_token_that_may_be_good_elsewhere_or_later_is_shown_ever_more_rarely(rule: str) -> None:
    cluster = lived(then=away(rule), token=draw().text)
    tries = cluster.dialled
    assert cluster.ends == []
    assert len(cluster.warned) == len(tries)
    early = [later - at for at, later in pairwise(tries)][:3]
    assert all(pause < 20 for pause in early), "a node may not know of a new token yet"
    late = [later - at for at, later in pairwise(tries) if at > 1_500]
    assert late, "it never gives up"
    assert all(300 <= pause <= 340 for pause in late)


@pytest.mark.parametrize(("rule", "status"), [("revoked", 401), ("role", 403)])
def test_a_token_that_no_node_will_have_ends_the_device_at_once(rule: str, status: int) -> None:
    cluster = lived(then=away(rule, status), token=draw().text)
    assert cluster.ends == [f"the node answered {status}: {rule}"]
    assert cluster.unauthorised
    assert (len(cluster.dialled), cluster.warned) == (1, [])


def test_who_has_no_token_is_told_at_once_that_one_is_needed() -> None:
    cluster = lived(then=away("missing"), token="")
    assert (cluster.ends, len(cluster.dialled)) == (["the node answered 401: missing"], 1)


def test_who_was_served_without_a_token_goes_on_looking_for_a_node_that_asks_for_none() -> None:
    lost = Fate(stands=[(5.0, NEVER)])
    cluster = lived(lost, away("missing"), away("missing"), then=Fate(), token="", seconds=60)
    assert (cluster.ends, cluster.tally.registrations) == ([], 2)
    assert len(cluster.warned) == 2


def test_once_it_is_served_again_a_device_is_as_patient_as_before() -> None:
    fates = [*[away("unknown")] * 6, Fate(stands=[(5.0, NEVER)]), away("unknown")]
    cluster = lived(*fates, then=Fate(), token=draw().text, seconds=400)
    pauses = [later - at for at, later in pairwise(cluster.dialled)]
    assert pauses[5] > 60
    assert pauses[7] < 40


@pytest.mark.parametrize(
    ("url", "believed"),
    [("https://sat-001:8701", True), ("http://sat-001:8701", False), ("http://https:1", False)],
)
def test_whom_to_trust_is_believed_of_who_has_proved_to_be_a_node_alone(
    url: str, believed: bool
) -> None:
    """In plain text anybody could say it."""
    heard: list[str] = []
    addresses = SimpleNamespace(credentials=SimpleNamespace(learn=heard.append))
    said = wire.Trust("sat-001", "pixel", wire.TrustPayload("CA"))
    by: Any = SimpleNamespace(_addresses=addresses)
    link.Link.received(by, SimpleNamespace(url=url), link.CODEC.encode(said))  # type: ignore[arg-type]
    assert heard == ["CA"] * believed


# -- a credential of its own


def own(folder: Path, text: str | None = None, **access: Any) -> OwnCredentials:
    """What a device shows that has this credential already."""
    file = folder / "credential"
    if text is not None:
        file.write_text(text)
        file.chmod(0o600)
    return OwnCredentials("phone", file, [ONE, TWO], **({"token": ""} | access))


def test_a_device_whose_credential_was_revoked_tries_once_in_five_minutes(tmp_path: Path) -> None:
    credentials = own(tmp_path, draw_own("phone").text)
    cluster = lived(Fate(stands=[(5.0, NEVER)]), then=away("revoked"), credentials=credentials)
    first = next(wire for wire in cluster.wires if wire.fate.away)
    tries = [at for at in cluster.dialled if at >= first.dialled]
    assert cluster.ends == [], "an operator may let it enrol anew"
    assert len(tries) >= 10
    assert all(later - at >= 300 for at, later in pairwise(tries))


def test_a_device_that_enrols_shows_its_token_once_and_then_its_own(tmp_path: Path) -> None:
    token = draw(ENROLMENT_PREFIX).text
    credentials = own(tmp_path, token=token)
    cluster = lived(then=Fate(), credentials=credentials, seconds=20)
    shown = [wire.shown for wire in cluster.wires]
    assert shown == [token, (tmp_path / "credential").read_text().split()[0]]
    said = [said.payload for _, _, said in cluster.sent if isinstance(said, wire.Registration)]
    kept = parse_own(shown[1])
    assert [payload.credential_sha256 for payload in said] == [kept.hash.hex(), None]
    assert cluster.dialled[1] < 1, "nothing is waited for"


def test_whoever_is_refused_one_shows_the_other_next(tmp_path: Path) -> None:
    """Its answer was lost, and the token has ended since; or it was removed."""
    token = draw(ENROLMENT_PREFIX).text
    credentials = own(tmp_path, draw_own("phone").text + "\nenrolled\n", token=token)
    fates = [away("unknown"), away("expired"), away("unknown")]
    cluster = lived(*fates, then=Fate(), credentials=credentials, seconds=200)
    mine = (tmp_path / "credential").read_text().split()[0]
    assert [wire.shown for wire in cluster.wires] == [mine, token, mine, token, mine]
    assert cluster.ends == []


def test_what_was_revoked_is_never_shown_again(tmp_path: Path) -> None:
    token, dead = draw(ENROLMENT_PREFIX).text, draw_own("phone").text
    credentials = own(tmp_path, f"{dead}\nenrolled\n", token=token)
    cluster = lived(away("revoked"), then=Fate(), credentials=credentials, seconds=400)
    mine = (tmp_path / "credential").read_text().split()[0]
    assert mine != dead
    assert [wire.shown for wire in cluster.wires] == [dead, token, mine]
    assert cluster.dialled[1] - cluster.dialled[0] >= 300
