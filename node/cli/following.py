"""Follows a deployment until none of its tasks will change, or a rollout until it waits or ends."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from stationkeep.node.cli import rollout_shapes, shapes
from stationkeep.node.cli.client import Client
from stationkeep.node.cli.failures import CommandError, NoQuorumError, UnreachableError
from stationkeep.node.cli.output import console, note
from stationkeep.node.cli.rendering import rollout_wording, wording
from stationkeep.node.cli.sending import tell
from stationkeep.node.system.printable import all_printable

POLL_SECONDS = 0.5
MOST_ACTIONS = 200
"""Of those that are open, which are listed first, 100 can be at a time."""
PATIENCE = 60.0
"""Seconds for which a cluster that does not answer is asked again; a failover is over by then."""

Told = Callable[[str], None]


def follow(client: Client, number: int) -> None:
    """Returns when the deployment is closed. Raises `CommandError` when a task of it failed, or it
    was canceled. Ctrl-C ends only the following."""
    try:
        with _line() as told:
            closed = _until_closed(client, number, told)
    except KeyboardInterrupt:
        note(f"deployment {number} goes on: stationkeep tasks show {number}")
        raise
    summary = f"deployment {number}: {wording.deployment_line(closed)}"
    if closed["reason"] == "canceled":
        raise CommandError(f"{summary}; it was canceled")
    if wording.count(closed, wording.FAILED):
        raise CommandError(f"{summary}\n  see: stationkeep tasks show {number}")
    tell(summary)


def _until_closed(client: Client, number: int, told: Told) -> dict[str, Any]:
    path = f"/v1/deployments/{number}"
    return _until(
        client, path, shapes.Deployment, told, line=wording.deployment_line, over=_is_closed
    )


def _is_closed(deployment: dict[str, Any]) -> bool:
    return deployment["closed_s"] is not None


def follow_rollout(client: Client, path: str) -> dict[str, Any]:
    """The rollout at a path, once it is over or waits for people; a line for each change."""
    with _line() as told:
        return _until(
            client, path, rollout_shapes.Rollout, told, line=rollout_line, over=has_halted
        )


def follow_action(client: Client, action: str) -> None:
    """Returns when all targets have complied. Raises `CommandError` when they have not in time."""
    path = f"/v1/actions?limit={MOST_ACTIONS}"

    def ours(page: dict[str, Any]) -> dict[str, Any]:
        for item in page["items"]:
            if item["id"] == action:
                return dict(item)
        raise CommandError(f"{action}: {client.url} does not know it any more")

    with _line() as told:
        page = _until(
            client, path, shapes.Page[shapes.Action], told,
            line=lambda page: action_line(ours(page)),
            over=lambda page: ours(page)["outcome"] != "open",
        )  # fmt: skip
    ended = ours(page)
    if ended["outcome"] != "compliant":
        raise CommandError(f"{action_line(ended)}\n  see: stationkeep actions list")
    tell(action_line(ended))


def action_line(action: dict[str, Any]) -> str:
    """`reboot: open; 1 of 3 have complied; failed: sat-002; not answered: sat-003`."""
    acks = action.get("acks", {})
    good = [node for node, ack in acks.items() if ack["success"]]
    kinds = {
        "failed": [node for node in acks if node not in good],
        "not answered": [node for node in action["targets"] if node not in acks],
    }
    parts = [f"{what}: {', '.join(nodes)}" for what, nodes in kinds.items() if nodes]
    done = f"{len(good)} of {len(action['targets'])} have complied"
    return "; ".join([f"{action['name']}: {action['outcome']}", done, *parts])


def rollout_line(rollout: dict[str, Any]) -> str:
    """`running; stage dev, soaking; 12 updated`."""
    standing, updated = rollout_wording.standing(rollout), rollout["updated"]
    return f"{rollout['state']}; stage {standing}; {updated:,} updated"


def has_halted(rollout: dict[str, Any]) -> bool:
    """Whether nothing comes of a rollout any more unless somebody orders it."""
    return rollout["state"] in HALTED


HALTED = ("draft", "awaiting_approval", "paused", "succeeded", "aborted", "rolled_back")


def _until(
    client: Client,
    path: str,
    shape: Any,
    told: Told,
    *,
    line: Callable[[dict[str, Any]], str],
    over: Callable[[dict[str, Any]], bool],
) -> dict[str, Any]:
    answered = time.monotonic()
    while True:
        try:
            # Strong, because another node than the one that took the order may not have applied it.
            found = all_printable(client.get(path, shape, consistency="strong"))
        except (UnreachableError, NoQuorumError):
            if time.monotonic() - answered > PATIENCE:
                raise
            told("no answer from the cluster, still trying")
        else:
            answered = time.monotonic()
            told(line(found))
            if over(found):
                return dict(found)
        time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def _line() -> Iterator[Told]:
    """One line that changes on a terminal; elsewhere a line for each change."""
    if sys.stderr.isatty():
        from rich.text import Text  # noqa: PLC0415

        with console(stderr=True).status("asking") as status:
            yield lambda line: status.update(Text(line))
        return
    last = ""

    def told(line: str) -> None:
        nonlocal last
        if line != last:
            last = line
            note(line)

    yield told
