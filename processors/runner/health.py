"""What the lanes of a worker have met, written down for status and metrics; nothing depends on it."""

import asyncio
from collections.abc import Callable

import psycopg

from processors.storage.database import Connect
from processors.storage.progress import LaneHealth, LaneKey, add_health

EVERY_S = 3.0
#: Whether a lane stands still is said again so often: somebody who lost it may have said otherwise.
AGAIN_S = 60.0


class Health:
    """By lane. Numbers only grow; whether a lane stands still is for whoever has it to say."""

    def __init__(self) -> None:
        self._lanes: dict[LaneKey, LaneHealth] = {}
        #: What was last said of each lane that stands still or not, and when.
        self._said: dict[LaneKey, tuple[str | None, float]] = {}

    def of(self, key: LaneKey) -> LaneHealth:
        """The lane's, to be written to."""
        return self._lanes.setdefault(key, LaneHealth())

    async def tell(self, connect: Connect, owned: Callable[[], set[LaneKey]]) -> None:
        """Write down what is new, again and again; where PostgreSQL is away, with the next time."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self._tell_once(connect, owned())

    async def _tell_once(self, connect: Connect, mine: set[LaneKey]) -> None:
        now = asyncio.get_running_loop().time()
        due = {key for key in mine if self._is_due(key, now)}
        news = {key: met.taken() for key, met in self._lanes.items() if key in due or met.has_news}
        if not news:
            return
        try:
            async with await connect() as connection:
                for key, met in news.items():
                    await add_health(connection, key, met, owned=key in mine)
        except (psycopg.Error, OSError):
            for key, met in news.items():
                self._lanes[key].give_back(met)
            return
        self._said |= {key: (news[key].stopped, now) for key in due}
        self._said = {key: said for key, said in self._said.items() if key in mine}

    def _is_due(self, key: LaneKey, now: float) -> bool:
        if key not in self._said:
            return True
        stopped, when = self._said[key]
        return stopped != self.of(key).stopped or now - when > AGAIN_S
