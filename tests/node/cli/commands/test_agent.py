"""What commands that run until they are told to end make of signals."""

import asyncio
import os
import signal
from collections.abc import Callable

import pytest
import uvloop

from stationkeep.node.cli.commands.agent import stopping


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_in_good_order_and_the_second_ends_the_process(
    factory: Callable[[], asyncio.AbstractEventLoop], signum: signal.Signals
) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    async def living() -> None:
        told = asyncio.Event()
        with stopping(told.set):
            os.kill(os.getpid(), signum)
            async with asyncio.timeout(10):
                await told.wait()
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(living())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
