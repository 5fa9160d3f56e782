"""Names for completion, asked of a node within a fifth of a second, or looked up on this machine.

One request, by the standard library: httpx alone takes half of that time to be imported. Whom it
asks, and what it shows, is what any command would with the same options.
"""

import contextlib
import http.client
import json
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from stationkeep.cluster.devices.rings import Ring
from stationkeep.cluster.settings import PROFILES
from stationkeep.node.cli import contexts
from stationkeep.node.cli.client import named
from stationkeep.node.cli.completion import Asked
from stationkeep.node.local.manifest import DEFAULT_DATA_DIR
from stationkeep.node.security import trust
from stationkeep.node.security.credentials import bearer
from stationkeep.node.system.addresses import split_url

SECONDS = 0.2
"""For all that is asked; what has not come by then does not come."""
MOST_BYTES = 1 << 20
LISTS: dict[str, tuple[str, Callable[[Any], object]]] = {
    "ACTION": ("/v1/actions?limit=200", lambda item: item["name"]),
    "ALARM": ("/v1/alarms", lambda item: item["id"]),
    "DEPLOYMENT": ("/v1/deployments?limit=200", lambda item: str(item["deployment"])),
    "DEVICE": ("/v1/devices?limit=200", lambda item: item["id"]),
    "FREEZE": ("/v1/freezes?limit=200", lambda item: item["freeze"]),
    "INVITATION": ("/v1/invitations?limit=200", lambda item: item["invitation"]),
    "NODE": ("/v1/nodes?limit=99", lambda item: item["id"]),
    "ROLLOUT": ("/v1/rollouts?limit=200", lambda item: item["rollout"]),
    "TOKEN": ("/v1/tokens?limit=200", lambda item: item["token"]),
}
"""By kind of thing: where they are listed, and an item's name."""


def look_up(asked: Asked) -> list[str]:
    """Names of the kinds that are asked for; none where there is no answer in time."""
    found: list[str] = []

    def run() -> None:
        with contextlib.suppress(Exception):  # a person types: whatever went wrong, no message
            for kind in asked.kinds:
                found.extend(_names(kind, asked))

    # A name server, a handshake or a drip of bytes may take any time: the process ends without it.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return list(found)


def _names(kind: str, asked: Asked) -> Iterable[str]:
    if kind in LISTS:
        path, name = LISTS[kind]
        answer = _answer(path, asked)
        return [str(name(item)) for item in answer["items"]]
    if kind == "SETTING=VALUE":
        return [f"{name}=" for name in _answer("/v1/config", asked)["settings"]]
    if kind == "SETTING":
        return list(_answer("/v1/config", asked)["settings"])
    if kind == "PROFILE":
        return PROFILES
    if kind == "RING=WEIGHT":
        return [f"{ring}=" for ring in Ring]
    if kind == "CONTEXT":
        return sorted(contexts.load().known)
    if kind == "TOPIC":
        from stationkeep.node.guide.pages import topics  # noqa: PLC0415

        return topics()
    return ()


def _answer(path: str, asked: Asked) -> dict[str, Any]:
    """The first answer of those who may be asked."""
    deadline = time.monotonic() + SECONDS
    for url, token in _whom(asked):
        with contextlib.suppress(OSError, http.client.HTTPException):
            found: dict[str, Any] = json.loads(_get(url, path, token, deadline))
            return found
    raise ConnectionError


def _whom(asked: Asked) -> Iterator[tuple[str, str]]:
    """Addresses, and the token that each may be shown."""
    contexts.choose(asked.options.get("context"))
    if "ca" in asked.options:
        os.environ[trust.VARIABLE] = str(Path(asked.options["ca"]).expanduser())
    access = contexts.access(asked.options.get("url") or os.environ.get("STATIONKEEP_URL") or None)
    for url in access.addresses(DEFAULT_DATA_DIR):
        yield named(url), access.token


def _get(url: str, path: str, token: str, deadline: float) -> bytes:
    parts = split_url(url)
    left = deadline - time.monotonic()
    if parts is None or parts.hostname is None or left <= 0:
        raise ConnectionError
    where = (parts.hostname, parts.port, left)
    asking = _secured(*where) if parts.scheme == "https" else _plain(*where)
    with contextlib.closing(asking):
        shown = {"Authorization": bearer(token)} if token else {}
        asking.request("GET", parts.path.rstrip("/") + path, headers=shown)
        answer = asking.getresponse()
        content = answer.read(MOST_BYTES)
    if answer.status != 200:
        raise ConnectionError
    return content


def _plain(host: str, port: int | None, seconds: float) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(host, port, timeout=seconds)


def _secured(host: str, port: int | None, seconds: float) -> http.client.HTTPConnection:
    trusted = trust.trusted() or ssl.create_default_context()
    return http.client.HTTPSConnection(host, port, timeout=seconds, context=trusted)
