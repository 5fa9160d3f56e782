"""Requests a second through the public door, beside etcd's, by one load generator.

3 nodes each on loopback, fsync on, all requests to the leader (`/primary` to the PRIMARY): h2load
with N connections of one request in flight each, after a second to connect them. Ours speaks
HTTP/1.1 and JSON, etcd 3.4 gRPC (a Put of the same size, a serializable and a linearizable Range).
Beside both, as many commands in flight inside the leader: what the log takes without HTTP.
Debian: apt-get install nghttp2-client etcd-server.
"""

import base64
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import httpx

from scripts import bench_commit
from scripts.bench_cluster import running
from scripts.bench_etcd import members, varint_field
from stationkeep.node.chaos.constellation import Constellation
from stationkeep.node.http.crowd import share
from stationkeep.node.http.limits import MAX_IN_FLIGHT

IN_FLIGHT = (1, 16, share(MAX_IN_FLIGHT))
"""The last is as many as one address may have at a node of ours."""
READS_IN_FLIGHT = 16
SECONDS = 5
WARM_UP = 1
NODES = 3
NEEDED = {"h2load": "nghttp2-client", "etcd": "etcd-server"}
_RATE = re.compile(r"finished in [\d.]+s, ([\d.]+) req/s")
_SUCCEEDED = re.compile(r"(\d+) succeeded, (\d+) failed")
_MEAN = re.compile(r"time for request: +\S+ +\S+ +(\S+)")

Figures = dict[str, dict[str, Any]]


def run(seconds: int = SECONDS) -> Figures:
    """What was asked → requests a second of ours and of etcd, the ratio, and without HTTP."""
    missing = [package for program, package in NEEDED.items() if shutil.which(program) is None]
    if missing:
        return {"missing": {"apt-get install": " ".join(missing)}}
    ours, theirs = _ours(seconds), _etcd(seconds)
    inside = bench_commit.measure("ours", IN_FLIGHT, seconds)
    figures: Figures = {}
    for name, (rate, mean) in ours.items():
        figures[name] = {"ours_per_second": rate, "ours_ms": mean}
        if name in theirs:
            etcd, etcd_ms = theirs[name]
            figures[name] |= {"etcd_per_second": etcd, "etcd_ms": etcd_ms, "ratio": rate / etcd}
    for count, found in inside.items():
        figures[_write(count)]["inside_per_second"] = found["per_second"]
    return figures


def _write(count: int) -> str:
    return f"write, {count} in flight"


Loads = dict[str, tuple[float, str]]
"""What was asked → requests a second, and the mean time of one as h2load prints it."""


def _ours(seconds: int) -> Loads:
    with running(NODES, "demo") as cluster, tempfile.TemporaryDirectory() as folder:
        cluster.settled()
        base = f"http://{cluster.addresses[cluster.leader()]}"
        body = _file(folder, json.dumps({"priority": 100}).encode())
        write = [f"{base}/v1/nodes/{_first(cluster, 'BACKUP')}/priority", *_json(body)]
        loads = {_write(count): _h2load(write, count, seconds, "--h1") for count in IN_FLIGHT}
        primary = f"http://{cluster.addresses[_first(cluster, 'PRIMARY')]}/primary"
        strong = f"{base}/v1/cluster?consistency=strong"
        for url in (primary, f"{base}/v1/cluster", strong):
            count, path = READS_IN_FLIGHT, url.removeprefix("http://").partition("/")[2]
            loads[f"GET /{path}, {count} in flight"] = _h2load([url], count, seconds, "--h1")
        return loads


def _first(cluster: Constellation, role: str) -> str:
    return cluster.roles()[role][0]


def _json(body: Path) -> list[str]:
    return ["-d", str(body), "-H", "content-type: application/json"]


def _etcd(seconds: int) -> Loads:
    key = b"/nodes/sat-002/priority"
    with members() as addresses, tempfile.TemporaryDirectory() as folder:
        address = _leader(addresses)

        def asked(method: str, message: bytes, count: int) -> tuple[float, str]:
            # gRPC's frame: not compressed, length, message.
            body = _file(folder, b"\0" + len(message).to_bytes(4, "big") + message)
            call = [f"http://{address}/etcdserverpb.KV/{method}", "-d", str(body)]
            headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
            return _h2load([*call, *headers], count, seconds)

        put = varint_field(1, key) + varint_field(2, b'{"priority": 100}')
        loads = {_write(count): asked("Put", put, count) for count in IN_FLIGHT}
        # A refusal of gRPC comes with status 200, too.
        written = sum(rate * seconds for rate, _ in loads.values())
        if _version(address, key) < 0.9 * written:
            raise RuntimeError("etcd did not take what it was sent")
        read = varint_field(1, key)
        for path, message in (
            ("/v1/cluster", read + b"\x38\x01"),  # serializable: from the member's own state
            ("/v1/cluster?consistency=strong", read),
        ):
            count = READS_IN_FLIGHT
            loads[f"GET {path}, {count} in flight"] = asked("Range", message, count)
        return loads


def _version(address: str, key: bytes) -> int:
    """How often etcd has put this key."""
    asked = {"key": base64.b64encode(key).decode()}
    found = httpx.post(f"http://{address}/v3/kv/range", json=asked).json()
    return int(found["kvs"][0]["version"])


def _leader(addresses: list[str]) -> str:
    """The client address of etcd's leader, by its JSON gateway."""
    for address in addresses:
        status = httpx.post(f"http://{address}/v3/maintenance/status", json={}).json()
        if status["leader"] == status["header"]["member_id"]:
            return address
    raise RuntimeError("etcd has no leader")


def _file(folder: str, data: bytes) -> Path:
    path = Path(folder) / "body"
    path.write_bytes(data)
    return path


def _h2load(call: list[str], count: int, seconds: int, *more: str) -> tuple[float, str]:
    timing = ["-D", str(seconds), "--warm-up-time", str(WARM_UP)]
    command = ["h2load", "-c", str(count), "-m", "1", *timing, *more, *call]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    succeeded, failed = map(int, _found(_SUCCEEDED, said))
    # Those cut off by the end of the time count as failed; anything else makes the figure void.
    if failed > count or not succeeded:
        raise RuntimeError(f"{failed} of {succeeded + failed} requests failed:\n{said}")
    return float(_found(_RATE, said)[0]), _found(_MEAN, said)[0]


def _found(pattern: re.Pattern[str], said: str) -> tuple[str, ...]:
    match = pattern.search(said)
    if match is None:
        raise RuntimeError(f"h2load said no {pattern.pattern}:\n{said}")
    return match.groups()
