"""The guide's table of what TLS costs, from the figures of `scripts/bench tls`."""

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
Row = tuple[str, str, str]
"""A figure, what was measured, and the aim."""


def tls_figures(measured: Json) -> str:
    """`measured`: what the part wrote."""
    lines = [f"Machine: {measured['machine']}, load {measured['load']:.1f} at the start.", ""]
    lines += ["| | in clear | TLS | ratio (range) | aim |", "| --- " * 5 + "|"]
    lines += [*_commits(measured["tls_commit"]), *_messages(measured["tls_transport"]["messages"])]
    lines += ["", "| figure | measured | aim |", "| --- | --- | --- |"]
    rows = [*_costs(measured["tls_transport"]), *_clusters(measured)]
    return "\n".join([*lines, *(f"| {what} | {took} | {aim} |" for what, took, aim in rows)])


def _commits(commit: Json) -> Iterator[str]:
    names = {
        "per_second": ("a second", "0.85"),
        "cpu_us": ("processor of the leader, µs each", "-"),
    }
    for in_flight, figures in commit.items():
        for figure, (name, aim) in names.items():
            f = figures[figure]
            plain, tls = (
                f"{_short(f[way]['median'])} ({_short(f[way]['low'])} … {_short(f[way]['high'])})"
                for way in ("plain", "tls")
            )
            what = f"commits on 3 nodes, {in_flight} in flight: {name}"
            yield f"| {what} | {plain} | {tls} | {f['ratio']:.2f} | {aim} |"


def _messages(messages: Json) -> Iterator[str]:
    names = {"per_second": "messages a second", "p50_us": "p50, µs", "cpu_us": "processor, µs each"}
    for load, figures in messages.items():
        for figure, name in names.items():
            f = figures[figure]
            ratio = f"{f['ratio']:.2f} ({f['low']:.2f} … {f['high']:.2f})"
            values = f"{_short(f['plain'])} | {_short(f['tls'])}"
            yield f"| echo, {load}: {name} | {values} | {ratio} | - |"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number > 20 else f"{number:.1f}"


def _costs(f: Json) -> Iterator[Row]:
    memory = f["connection_kib"]
    sizes = ", ".join(
        f"{loop} {size['tls']:.0f} KiB ({size['plain']:.1f} in clear)"
        for loop, size in memory.items()
    )
    yield "an idle link between members, accepting end", sizes, "-"
    took = f"{f['handshake_server_ms']:.2f} ms of processor"
    yield "a handshake with both certificates, accepting end", took, "-"
    yield (
        "read and check a node's certificates, and begin to use them",
        f"{f['context_ms']:.1f} ms",
        "-",
    )


def _clusters(measured: Json) -> Iterator[Row]:
    f = measured["tls_failover"]
    took = f"{f['median_s']:.2f} s ({f['min_s']:.2f} … {f['max_s']:.2f}, {f['runs']} kills)"
    late = f"too late {f['late']}, two at once {f['two_primaries']}"
    yield (
        "kill -9 of a PRIMARY → another acts, 3 machines, demo",
        f"{took}; {late}",
        "6 s, 8 if it led",
    )
    f = measured["tls_devices"]
    count = f"{f['devices']:,}"
    size = f"{f['kB_per_device']:.0f} kB"
    yield f"{count} idle devices on a node: memory of each", size, "40 kB"
    changes = f"elections {f['elections']}, changes of PRIMARY {f['primary_changes']}"
    back = f"{f['back_s']:.0f} s, {changes}"
    what = f"that node is killed: until {count} devices are registered at the two others"
    yield what, back, "60 s, 0, 0"
    yield "the same: loop lag of these, p99", f"≤ {f['lag_p99'] * 1e3:.0f} ms", "-"
    f = measured["tls_snapshot"]
    what = f"a new node behind NAT and a path that swallows long packets: {f['devices']:,} devices"
    yield f"{what} are sent and taken in", f"{f['known_after_s']:.1f} s", "2 s to send"
