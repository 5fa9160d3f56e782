"""etcd as Debian has it, with its defaults: who leads Raft."""

import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from scripts import loss_peers
from scripts.loss_peers import HOST, Acting, running

CLIENTS, PEERS = 2_400, 2_300


def run(*, share: float, minutes: float, members: int = 3) -> dict[str, Any]:
    """Changes of leader, and seconds without one."""
    if shutil.which("etcd") is None:
        return {"missing": "apt-get install etcd-server"}

    def begin(processes: ExitStack, folder: Path) -> Acting:
        start(processes, folder, members)
        return lambda: leader(members)

    return loss_peers.quiet(begin, share=share, minutes=minutes)


def start(processes: ExitStack, folder: Path, members: int) -> None:
    """Starts the members; they end with `processes`."""
    together = ",".join(f"etcd-{n}=http://{HOST}:{PEERS + n}" for n in range(members))
    for n in range(members):
        peer, client = f"http://{HOST}:{PEERS + n}", f"http://{HOST}:{CLIENTS + n}"
        command = [
            "etcd", "--name", f"etcd-{n}", "--data-dir", str(folder / f"etcd-{n}"),
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--initial-cluster", together, "--log-level", "error",
        ]  # fmt: skip
        processes.enter_context(running(command, folder / f"etcd-{n}.log"))


def leader(members: int) -> set[str]:
    """Who says that it leads, as long as a majority says that it has a leader.

    Asked by metrics: the JSON gateway calls its own member through the network that loses.
    """
    said = {
        f"etcd-{n}": answer[1] if (answer := loss_peers.ask(CLIENTS + n, "/metrics")) else ""
        for n in range(members)
    }
    led = sum("\netcd_server_has_leader 1\n" in text for text in said.values())
    leaders = {name for name, text in said.items() if "\netcd_server_is_leader 1\n" in text}
    return leaders if led > members // 2 else set()
