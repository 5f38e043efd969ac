"""How every long-lived process runs: one event loop, until TERM or Ctrl-C."""

import asyncio
import faulthandler
import signal
from collections.abc import Awaitable, Callable

import uvloop

from deploy.memory import settle


def run_until_signal(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `main` on uvloop with an event that TERM and INT set. A crash of a library says where all threads were."""
    faulthandler.enable()

    async def run() -> None:
        stop = asyncio.Event()
        for signum in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signum, stop.set)
        settle()
        await main(stop)

    uvloop.run(run())
