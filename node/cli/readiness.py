"""Waits, with a limit, until what `up` and `start` have started is ready."""

import time
from collections.abc import Iterator
from typing import Any

from stationkeep.cluster.settings import Settings
from stationkeep.node.cli import shapes
from stationkeep.node.cli.exchange import answer_of, understood
from stationkeep.node.cli.failures import CommandError
from stationkeep.node.cli.output import note
from stationkeep.node.client.errors import UnreachableError
from stationkeep.node.client.exchange import Call, actor
from stationkeep.node.local.cluster import LocalCluster
from stationkeep.node.local.manifest import DEVICES, Manifest, NodeRecord

START_SECONDS = 20.0
MOST_SETTLING_SECONDS = 30.0
DEVICE_SECONDS = 15.0
_POLL_SECONDS = 0.1
_ANSWER_SECONDS = 2.0


def await_node(cluster: LocalCluster, node: str, record: NodeRecord) -> None:
    """Returns when the node answers `/livez`; raises `CommandError` with its log if it does not."""
    for _ in _until(START_SECONDS):
        if not record.running:
            raise CommandError(f"{node} ended at once; {record.log} says\n{cluster.log_tail(node)}")
        if _ask(record.url, "/livez") is not None:
            return
    raise CommandError(f"{node} runs but does not answer at {record.url}; see {record.log}")


def await_primary(cluster: LocalCluster, manifest: Manifest, seconds: float) -> str:
    """Waits until every node answers and one acts as PRIMARY; returns its id."""
    shown = ""
    for _ in _until(seconds):
        _nobody_ended(cluster, manifest)
        asked = {node: _ask(record.url, "/primary") for node, record in manifest.nodes.items()}
        silent = [node for node, answer in asked.items() if answer is None]
        primaries = [node for node, answer in asked.items() if answer and answer[0] == 200]
        if primaries and not silent:
            note(f"{primaries[0]} is PRIMARY")
            return primaries[0]
        stage = "waiting for the nodes to answer" if silent else "waiting for a PRIMARY"
        if stage != shown:
            note(f"{stage} …")
            shown = stage
    what = f"no answer from {', '.join(silent)}" if silent else "no PRIMARY"
    raise CommandError(f"{what} after {seconds:.0f} s; the logs are in {cluster.data_dir}")


def await_devices(cluster: LocalCluster, manifest: Manifest) -> None:
    """Waits until as many devices as are simulated are heard of, for at most `DEVICE_SECONDS`.

    Raises `CommandError` with their log if their process ends. Taking longer is not an error.
    Devices that are offline do not count: those of an earlier run are still registered.
    """
    fleet = manifest.devices
    if fleet is None:
        return
    first = next(iter(manifest.nodes.values()))
    for _ in _until(DEVICE_SECONDS):
        cluster.reap()
        if not fleet.running:
            said = f"{fleet.log} says\n{cluster.log_tail(DEVICES)}"
            raise CommandError(f"the simulated devices ended at their start; {said}")
        answer = _ask(first.url, "/v1/cluster", shapes.Cluster)
        told = answer[1].get("fleet") if answer else None
        heard = told["total_slaves"] - told["offline_devices"] if told else 0
        if heard >= fleet.count:
            note(f"{heard} devices are in their rings")
            return


def await_roles(cluster: LocalCluster, manifest: Manifest, settings: Settings) -> None:
    """Waits until every node acts and the BACKUPs are chosen, for as long as that should take.

    Taking longer is not an error: the table that is printed next shows the state.
    """
    wanted = min(settings.backup_count, len(manifest.nodes) - 1)
    hold = settings.promotion_hold + 5 * settings.evaluation_interval + settings.proposal_timeout
    first = next(iter(manifest.nodes.values()))
    for _ in _until(min(hold / 1_000, MOST_SETTLING_SECONDS)):
        _nobody_ended(cluster, manifest)
        path = f"/v1/nodes?limit={len(manifest.nodes)}"
        answer = _ask(first.url, path, shapes.Page[shapes.Node])
        acting = [node.get("effective_role") for node in (answer[1]["items"] if answer else [])]
        if acting and None not in acting and acting.count("BACKUP") >= wanted:
            return


def _nobody_ended(cluster: LocalCluster, manifest: Manifest) -> None:
    cluster.reap()
    for node, record in manifest.nodes.items():
        if not record.running:
            raise CommandError(
                f"{node} ended at its start; {record.log} says\n{cluster.log_tail(node)}"
            )


def _until(seconds: float) -> Iterator[None]:
    """Yields once per poll for `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(_POLL_SECONDS)


def _ask(url: str, path: str, shape: Any = dict) -> tuple[int, dict[str, Any]] | None:
    """Status and JSON of a GET; None while there is no valid answer."""
    try:
        answer = answer_of([url], Call("GET", path, actor(), _ANSWER_SECONDS))
        return answer.status, understood(answer, shape)
    except (UnreachableError, CommandError):
        return None
