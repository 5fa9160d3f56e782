"""Patroni as Debian has it, with its defaults (ttl 30), three nodes of PostgreSQL on etcd."""

import os
import pwd
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from scripts import loss_etcd, loss_peers
from scripts.loss_peers import HOST, Acting, running

USER = "postgres"
DATABASES, INTERFACES = 5_400, 8_000
BINARIES = Path("/usr/lib/postgresql")


def run(*, share: float, minutes: float, members: int = 3) -> dict[str, Any]:
    """Changes of the primary, as its HTTP interface says who that is."""
    if shutil.which("patroni") is None or not BINARIES.exists() or shutil.which("etcd") is None:
        return {"missing": "apt-get install patroni postgresql etcd-server"}

    def begin(processes: ExitStack, folder: Path) -> Acting:
        loss_etcd.start(processes, folder, members)
        _own(folder)
        for n in range(members):
            path = folder / f"patroni-{n}.yaml"
            path.write_text(yaml.safe_dump(_config(folder, n, members)))
            command = ["patroni", str(path)]
            processes.enter_context(running(command, folder / f"patroni-{n}.log", USER))
        return lambda: primary(members)

    return loss_peers.quiet(begin, share=share, minutes=minutes)


def primary(members: int) -> set[str]:
    """Who answers 200 on `/primary`."""
    answers = {f"pg-{n}": loss_peers.ask(INTERFACES + n, "/primary") for n in range(members)}
    return {name for name, answer in answers.items() if answer is not None and answer[0] == 200}


def _own(folder: Path) -> None:
    """PostgreSQL refuses to run as root."""
    account = pwd.getpwnam(USER)
    os.chown(folder, account.pw_uid, account.pw_gid)


def _config(folder: Path, n: int, members: int) -> dict[str, Any]:
    """What has no default: names, addresses, directories, and who may log in.

    Patroni reaches its own database through a Unix socket: on real machines nothing of that is
    lost either.
    """
    interface, database = f"{HOST}:{INTERFACES + n}", f"{HOST}:{DATABASES + n}"
    newest = max(BINARIES.iterdir(), key=lambda path: int(path.name))
    everybody = [f"host {what} all {HOST}/8 trust" for what in ("all", "replication")]
    logins = {"superuser": "postgres", "replication": "replicator"}
    return {
        "scope": "bench",
        "name": f"pg-{n}",
        "restapi": {"listen": interface, "connect_address": interface},
        "etcd3": {"hosts": [f"{HOST}:{loss_etcd.CLIENTS + m}" for m in range(members)]},
        "bootstrap": {"dcs": {}, "initdb": [{"encoding": "UTF8"}], "pg_hba": everybody},
        "postgresql": {
            "listen": database,
            "connect_address": database,
            "data_dir": str(folder / f"data-{n}"),
            "pgpass": str(folder / f"pgpass-{n}"),
            "bin_dir": str(newest / "bin"),
            "authentication": {
                role: {"username": name, "password": "bench"} for role, name in logins.items()
            },
            "use_unix_socket": True,
            "parameters": {"unix_socket_directories": str(folder)},
        },
    }
