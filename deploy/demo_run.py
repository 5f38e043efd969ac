"""Runs the demo: an installation of its own, the purchases through it, the table."""

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import click

from deploy import demo
from deploy.embedded.process import usable_port
from deploy.pipeline import Pipeline, say
from deploy.settings import Settings
from deploy.supervisor import Services, prepare, with_pipeline
from deploy.try_page import serve_try_page
from deploy.until_signal import run_until_signal

#: The example definitions that the demo runs with.
SHOP = Path(__file__).parent / "examples" / "shop"
#: How often it is said how far the demo is, where no terminal shows it.
TOLD_EVERY_S = 10.0


def run_demo(settings: Settings, data: Path, rows: int | None, exit_after: bool, as_json: bool) -> bool:
    """The demo, in a folder and on ports of its own; whether what came out is what went in."""
    purchases = demo.read_purchases(data)[:rows]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headwater-demo-")))
        folder.chmod(0o755)
        own = Settings(data=folder, http_port=usable_port(0), partitions=settings.partitions, lanes=settings.lanes)
        services = Services(own, short_lived=True)
        stack.callback(services.stop)
        running = prepare(services, own, SHOP, stack, quiet=True)
        pipeline = Pipeline(running, {}, os.environ)
        stack.callback(pipeline.stop)
        outcome = DemoRun(running, purchases, exit_after, as_json, stack)
        run_until_signal(lambda stop: with_pipeline(pipeline, services, running, stop, outcome.run))
    return outcome.right


class DemoRun:
    """Sends the purchases once everything is ready, waits until they are through, and shows what became of them."""

    def __init__(
        self,
        settings: Settings,
        purchases: Sequence[demo.Purchase],
        exit_after: bool,
        as_json: bool,
        stack: ExitStack,
    ) -> None:
        """What it starts ends with the `stack`."""
        self._settings, self._purchases, self._stack = settings, purchases, stack
        self._exit_after, self._as_json = exit_after, as_json
        self._sent, self._told_at = 0, 0.0
        self.right = False

    async def run(self, stop: asyncio.Event) -> None:
        wanted = demo.expected(self._purchases)
        url = self._settings.door_url
        say(f"sending {len(self._purchases):,} purchases, each as a page-view and an order")
        started = time.monotonic()
        sending = asyncio.create_task(demo.send(url, self._purchases, self._count))
        await demo.wait_until_done(self._settings, wanted, self._show)
        await sending
        seconds = time.monotonic() - started
        say("")
        self.right = demo.report(wanted, await demo.found(self._settings), seconds, self._as_json)
        if self._exit_after or not self.right:
            stop.set()
        else:
            page, server = serve_try_page(self._settings.http_host, url)
            self._stack.callback(server.server_close)
            self._stack.callback(server.shutdown)
            say(demo.try_next(self._settings, page))

    def _count(self) -> None:
        self._sent += 1

    def _show(self, recorded: int, lag: int) -> None:
        line = f"  sent {self._sent:,} payloads, recorded {recorded:,} events, {lag:,} records under way   "
        if sys.stderr.isatty():
            click.echo(f"\r{line}", err=True, nl=False)
        elif time.monotonic() >= self._told_at + TOLD_EVERY_S:
            self._told_at = time.monotonic()
            say(line.rstrip())
