"""A check of the rings, as the leader recorded it: every move is looked at again.

A plan is made on a state that has gone on since. A move is made when its device is still the one
that was planned with, and when the reason given still is one; else it is left out, and the next
check sees the device as it is. Source: rings.md, "Rebalancing".
"""

import numpy as np

from stationkeep.cluster.commands import RecordRebalance, RequestRebalance
from stationkeep.cluster.devices.moves import REASONS, VOLUNTARY, MoveReason
from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.devices.table import Column
from stationkeep.cluster.fleet.command_columns import column, row_column
from stationkeep.cluster.fleet.journeys import Journey, travel
from stationkeep.cluster.fleet.storm import watch
from stationkeep.cluster.state.decisions import Outcome, Reason
from stationkeep.cluster.state.events import RebalanceRequested, RingsChecked
from stationkeep.cluster.state.step import Refused, Step

UPPER = Ring.STAGE.code
"""Rings from this one on are for healthy devices."""


def record_rebalance(step: Step, command: RecordRebalance) -> dict[str, object]:
    """One part of a check; with the last part the check is complete."""
    fleet = step.state.fleet
    rows = row_column(command.rows)
    revisions = column("revisions", command.revisions, "<u4", len(rows))
    rings = column("rings", command.rings, "u1", len(rows), 3)
    reasons = column("reasons", command.reasons, "u1", len(rows), len(REASONS) - 1)
    if command.after != fleet.checks:
        detail = f"after: {command.after}, {fleet.checks} checks have been made"
        raise Refused(Reason.STALE_REVISION, detail)
    if step.state.pause is not None:
        raise Refused(Reason.PAUSED, "automatic changes pause")
    moved = 0
    if not fleet.braked:
        stands = _stands(step, rows, revisions, rings, reasons)
        moved = int(stands.sum())
        if moved:
            journey = Journey(rows[stands].astype(np.intp), rings[stands], reasons[stands])
            for kind, count in travel(step, journey).items():
                fleet.moving[kind] = fleet.moving.get(kind, 0) + count
    if not command.more:
        _complete(step)
    watch(step)
    return {"moved": moved, "left_out": len(rows) - moved, "braked": fleet.braked}


def _complete(step: Step) -> None:
    fleet = step.state.fleet
    fleet.checks += 1
    fleet.checked_at = step.now
    wanted, fleet.requested = fleet.requested, False
    fleet.turned = 0
    moves, fleet.moving = fleet.moving, {}
    if moves:
        facts = {"check": fleet.checks, "moves": dict(sorted(moves.items()))}
        step.decide("rebalance", Outcome.DONE, (), facts=facts)
    if moves or wanted:
        step.emit(RingsChecked(fleet.checks, sum(moves.values())))


def _stands(step: Step, rows: Column, revisions: Column, rings: Column, reasons: Column) -> Column:
    """Which moves may be made now, by the words of the rules; nothing of the plan is trusted."""
    fleet, settings, now = step.state.fleet, step.state.settings, step.now
    table = fleet.table
    there = rows < table.used
    at = np.where(there, rows, 0).astype(np.intp)
    healthy, ring, policy = table.healthy[at], table.ring[at], table.policy[at]
    rested = healthy & (table.turned_at[at] <= now - settings.recovery_hold)
    allowed = fleet.shares.masks(True)[policy]
    eligible = np.where(rested, allowed, fleet.shares.masks(False)[policy])
    voluntary = np.isin(reasons, [reason.code for reason in VOLUNTARY])
    may = voluntary & (table.ring_since[at] <= now - settings.ring_dwell)
    sick_above = ~healthy & (ring >= UPPER)
    outside = ~_within(allowed, ring) & _within(allowed, rings)
    must = (reasons == MoveReason.UNHEALTHY.code) & sick_above
    must |= (reasons == MoveReason.POLICY.code) & outside
    free = table.online[at] & ~table.pinned[at] & (table.revision[at] == revisions)
    free &= table.task[at] == 0  # while it installs a device may well look ill
    stands: Column = there & free & (ring != rings) & _within(eligible, rings) & (must | may)
    return stands


def _within(masks: Column, rings: Column) -> Column:
    """Whether each ring is in its mask."""
    inside: Column = (masks >> rings & 1).astype(bool)
    return inside


def request_rebalance(step: Step, _: RequestRebalance) -> dict[str, object]:
    """Has the leader check the rings without waiting for its time."""
    fleet = step.state.fleet
    fleet.requested = True
    step.emit(RebalanceRequested())
    step.decide("rebalance_request", Outcome.DONE, ())
    return {"checks": fleet.checks}
