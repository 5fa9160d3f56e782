"""Redis Sentinel as Debian has it, with its defaults: three servers, three sentinels."""

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from scripts import loss_peers
from scripts.loss_peers import HOST, Acting, running

SERVERS, SENTINELS = 6_400, 26_400


def run(*, share: float, minutes: float, members: int = 3) -> dict[str, Any]:
    """Changes of the master, as the servers themselves say who that is."""
    if shutil.which("redis-sentinel") is None:
        return {"missing": "apt-get install redis-server redis-sentinel"}

    def begin(processes: ExitStack, folder: Path) -> Acting:
        for n in range(members):
            command = [
                "redis-server", "--port", str(SERVERS + n), "--bind", HOST, "--save", "",
                "--protected-mode", "no",
                *(["--replicaof", HOST, str(SERVERS)] if n else []),
            ]  # fmt: skip
            processes.enter_context(running(command, folder / f"redis-{n}.log"))
        for n in range(members):
            path = folder / f"sentinel-{n}.conf"
            quorum = members // 2 + 1
            path.write_text(
                f"port {SENTINELS + n}\nbind {HOST}\n"
                f"sentinel monitor bench {HOST} {SERVERS} {quorum}\n"
            )
            command = ["redis-sentinel", str(path)]
            processes.enter_context(running(command, folder / f"sentinel-{n}.log"))
        return lambda: masters(members)

    return loss_peers.quiet(begin, share=share, minutes=minutes)


def masters(members: int) -> set[str]:
    """Who says that it is master."""
    answers = {f"redis-{n}": loss_peers.ask_line(SERVERS + n, b"ROLE\r\n") for n in range(members)}
    return {name for name, answer in answers.items() if b"master" in answer.split(b"\r\n")[:3]}
