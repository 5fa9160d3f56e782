"""Asks all members one thing, each at its own address."""

from collections.abc import Callable, Container
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from stationkeep.node.cli import shapes
from stationkeep.node.cli.client import Client
from stationkeep.node.cli.failures import CommandError
from stationkeep.node.cli.options import MOST_NODES

T = TypeVar("T")

AT_ONCE = 16
"""Members that are asked concurrently: one that hangs delays only those queued after it."""


def ask_each(
    asked: Client, ask: Callable[[str], T], among: Container[str] | None = None
) -> tuple[dict[str, T], dict[str, str]]:
    """What `ask` finds at the HTTP address, `host:port`, of each member that `asked` knows, by
    name; and in a line why some did not answer, where it raised `CommandError`. `among`: only
    these."""

    def tried(address: str) -> T | CommandError:
        try:
            return ask(address)
        except CommandError as error:
            return error

    known = asked.items("/v1/nodes", shapes.Node, MOST_NODES)
    addresses = {member["id"]: member["address"]["http"] for member in known}
    if among is not None:
        addresses = {name: address for name, address in addresses.items() if name in among}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = dict(zip(addresses, pool.map(tried, addresses.values()), strict=True))
    found = {name: one for name, one in answers.items() if not isinstance(one, CommandError)}
    silent = {name: one for name, one in answers.items() if isinstance(one, CommandError)}
    return found, {name: str(why).partition("\n")[0] for name, why in silent.items()}
