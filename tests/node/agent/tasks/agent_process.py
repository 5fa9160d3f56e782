"""An agent as a process of its own, which a test kills: URL SPOOL BOOT-FILE COMMANDS (JSON)."""

import asyncio
import json
import sys
import time
from pathlib import Path

from stationkeep import DeviceAgent, Readings
from stationkeep.node.agent import addresses
from stationkeep.node.agent.tasks import carrier, spool
from stationkeep.node.agent.tasks.book import Moment
from tests.node.agent.tasks.told import DEVICE


async def main() -> None:
    url, place, boot, commands = sys.argv[1:]
    spool.present_moment = lambda: _moment(Path(boot))
    from stationkeep.node.agent.tasks import commands as commands_module

    commands_module.CONFIRM_SECONDS = 1.0
    carrier.REPEAT = 0.2
    addresses.FIRST_PAUSE = 0.05
    agent = DeviceAgent(
        DEVICE, url, app_version="1.0.0", on_task=commands_module.Commands(**json.loads(commands)),
        spool=Path(place), read_status=Readings,
    )  # fmt: skip
    async with agent:
        await agent.wait()


def _moment(boot: Path) -> Moment:
    """Of a machine that booted when the file was written."""
    return Moment(boot.read_text(), time.time() - boot.stat().st_mtime)


asyncio.run(main())
