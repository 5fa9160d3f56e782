"""State → the level of the cluster, and what each member runs."""

from stationkeep.cluster import upgrades
from stationkeep.node.views.base import Answering, View


class MemberReleaseView(View, frozen=True):
    """What a member runs, by its newest report: null until it has sent one. `highest`: its highest
    level."""

    node: str
    release: str | None
    highest: int | None


class LevelView(View, frozen=True):
    """`GET /v1/level`. `release`: one that has the level. `hold`: the setting level_hold, or null.
    `next`: the highest level that any member has beyond the present one, or null; `obstacles`: why
    the cluster may not be raised to it now, a sentence each; `raises_in_s`: when the leader will
    raise it by itself, or null."""

    level: int
    release: str
    hold: int | None
    next: int | None
    obstacles: list[str]
    raises_in_s: float | None
    members: list[MemberReleaseView]


def level_view(here: Answering) -> LevelView:
    """The level, and what keeps it from being raised."""
    state, now = here.state, here.cluster_time()
    highest = max((member.highest for member in state.members.values()), default=0)
    following = highest if highest > state.level else None
    due = upgrades.due_at(state)
    return LevelView(
        level=state.level,
        release=state.release,
        hold=state.settings.level_hold or None,
        next=following,
        obstacles=upgrades.obstacles(state, following, now) if following else [],
        raises_in_s=None if due is None else max(0, due - now) / 1_000,
        members=[
            MemberReleaseView(member.id, member.release or None, member.highest or None)
            for member in sorted(state.members.values(), key=lambda member: member.id)
        ],
    )
