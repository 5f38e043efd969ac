"""What becomes of a call that a library ended in its own way."""

import asyncio
from typing import Any

from processors.runner.caller import _outcome
from schemas.events import Answer


async def test_a_call_that_was_cancelled_from_inside_is_one_that_failed():
    """A worker would end in silence by a cancellation that goes on through it."""

    async def cancelled() -> Any:
        raise asyncio.CancelledError

    call = asyncio.ensure_future(cancelled())
    await asyncio.wait({call})
    assert _outcome(call) == Answer(error="CancelledError")
