"""Side by side: the runner and a stock Faust agent, doing the same step over the same topic."""

import asyncio
import json
import subprocess
import sys
from typing import NamedTuple

from confluent_kafka.admin import NewTopic

from deploy.embedded.process import dying_with_parent
from deploy.installation import migrate_database
from tests.bench.rig import Rig
from tests.bench.stages import StageFigure, fill_tracks, run_stage
from tests.bench.stock_agent import TAKE
from tests.bench.web import Web
from tests.kit.installation import READS
from tests.kit.processes import REPOSITORY

STEPS, MODES = ("validate", "persist"), ("per-event", "take")


class StockFigure(NamedTuple):
    """One run of the stock agent."""

    records_per_s: float
    worker_us: float


def compare(
    rig: Rig, events: int, persisted: int, seed: int
) -> tuple[dict[str, StageFigure], dict[tuple[str, str], StockFigure]]:
    """The runner's figures by step, and the stock agent's by step and mode; one by one it persists only so many."""
    fill_tracks(rig, Web(seed), events)
    for future in rig._admin.create_topics([NewTopic(rig.prefix + "stock-out", rig.partitions, 1)]).values():
        future.result(30)
    runner: dict[str, StageFigure] = {}
    stock: dict[tuple[str, str], StockFigure] = {}
    for step in ("validate", "identify", "persist"):
        for mode in MODES if step in STEPS else ():
            one_by_one = min(events, 20_000) if step == "validate" else persisted
            stock[step, mode] = _run_stock(rig, step, mode, events if mode == "take" else one_by_one)
        figure = run_stage(rig, step)
        assert figure is not None, f"too few events for {step}"
        runner[step] = figure
    return runner, stock


def _run_stock(rig: Rig, step: str, mode: str, most: int) -> StockFigure:
    """On an empty database of its own: what was recorded once is not recorded again."""
    count = min(most, sum(end for (topic, _), end in rig.ends(READS[step]).items()))
    if mode == "take":
        count -= count % TAKE
    url = rig.services.new_database()
    settings = rig.settings.model_copy(update={"database_url": url})
    asyncio.run(migrate_database(settings))
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.stock_agent", step, mode, str(count)],
        cwd=REPOSITORY,
        env=rig.variables() | {"HEADWATER_DATABASE_URL": url},
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=dying_with_parent(),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return StockFigure(**json.loads(done.stdout.splitlines()[-1]))
