"""The README's table of what lost packets did, from the figures of `scripts/bench loss`."""

from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
WATCHED = {
    "quiet": "nothing is killed",
    "bursts": "no loss, one member at a time mute 3 of 15 s",
}
PEERS = {"etcd": "etcd 3.4 (its leader)", "patroni": "Patroni 3.0", "sentinel": "Sentinel 7.0"}


def loss_figures(measured: Json) -> str:
    """`measured`: what the part wrote."""
    records: list[Json] = measured["loss"]
    lines = [f"Machine: {measured['machine']}.", ""]
    lines += ["| what | minutes | changes of PRIMARY | s without one | longest gap "
              "| changes of Raft leader | two at once |"]  # fmt: skip
    lines += ["| --- " * 7 + "|", *_watched(records), ""]
    lines += ["| at 20 % loss | measured | aim |", "| --- | --- | --- |", *_timed(records)]
    return "\n".join(lines)


def _watched(records: list[Json]) -> Iterator[str]:
    for record in records:
        kind = record["kind"]
        if kind in WATCHED:
            lane = "" if record["datagrams"] else ", without datagrams"
            share = f", {100 * record['share']:.0f} % lost" if "share" in record else ""
            what = f"{record['profile']}, {record['nodes']} nodes{share}{lane}: {WATCHED[kind]}"
            yield _row(what, record, record["leader_changes"], record["two_primaries"])
        elif kind in PEERS:
            what = f"{PEERS[kind]}, 3 members, its defaults, {100 * record['share']:.0f} % lost"
            yield _row(what, record, "-", record["two_s"])


def _row(what: str, record: Json, leaders: Any, twice: Any) -> str:
    return (
        f"| {what} | {record['seconds'] / 60:.0f} | {record['primary_changes']} "
        f"| {record['without_primary']:.1f} | {record['longest_gap']:.1f} s | {leaders} "
        f"| {twice} |"
    )


def _timed(records: list[Json]) -> Iterator[str]:
    for record in records:
        lane = "" if record.get("datagrams", True) else ", without datagrams"
        match record["kind"]:
            case "kills":
                found = (
                    f"{record['median_s']:.2f} s ({record['min_s']:.2f} … {record['max_s']:.2f})"
                )
                yield (
                    f"| kill -9 of the PRIMARY → another acts, demo, {record['runs']} kills{lane} "
                    f"| {found} | {record['bound_s'] + 1:.0f} s |"
                )
            case "writes":
                yield _writes(record, "leader", lane)
                yield _writes(record, "follower", lane)
            case "level":
                yield (
                    f"| a follower that was away for {record['entries']:,} entries is level{lane} "
                    f"| {record['level_after_s']:.1f} s | 60 s |"
                )


def _writes(record: Json, asked: str, lane: str) -> str:
    p50, p99 = (f"{1e3 * record[f'{asked}_{q}_s']:,.0f} ms" for q in ("p50", "p99"))
    return (
        f"| write, acknowledged by the {asked}, demo, 3 nodes{lane} | p50 {p50}, p99 {p99} "
        "| 200 ms, 1 s |"
    )
