"""What a worker tells its consumer about its stage."""

from typing import Any

import pytest

from processors.runner.worker import Installation, StageWorker
from processors.topology import PIPELINE


@pytest.mark.parametrize(("name", "seconds"), [("validate", 0.05), ("archive", 0.5), ("identify", 0.0)])
async def test_who_reads_what_comes_from_outside_lets_more_come_and_nobody_behind_it_waits(name: str, seconds: float):
    """Validate gathers single events for all stages after it; the archive looks twenty times while it gathers."""
    nothing: Any = None
    installation = Installation("127.0.0.1:1", "", nothing, _Admin(), lambda key: nothing, lanes=1)
    [stage] = [stage for stage in PIPELINE if stage.name == name]
    assert StageWorker(stage, installation, lambda connection: {})._app.fetch_every_s == seconds


class _Admin:
    async def topic_id(self, name: str) -> str:
        return "id"

    async def beginning(self, name: str, partition: int) -> int:
        return 0

    async def committed_by(self, group: str, name: str, partition: int) -> int | None:
        return None
