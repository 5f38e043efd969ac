"""What a process does where something ends that goes on beside its work."""

import asyncio
from typing import Any

import pytest

from deploy.wiring import _with


async def test_what_is_cancelled_from_inside_beside_the_work_ends_the_process_with_an_error():
    async def cancelled() -> Any:
        raise asyncio.CancelledError

    stop = asyncio.Event()
    with pytest.raises(RuntimeError, match="cancelled from inside"):
        await _with([asyncio.ensure_future(cancelled())], stop.wait(), stop)
