"""Faust's way from an assignment to the first fetch, with the time that it takes."""

from typing import Any

from faust.tables.manager import TableManager
from faust.tables.recovery import Recovery


class PatientRecovery(Recovery):
    """Faust takes a wait that was too long for the end of the worker: its task ends without a word, and no assignment
    is ever followed by a fetch again. Where a position cannot be had, the next assignment ends the wait."""

    async def _wait(self, coro: Any, timeout: Any = None) -> None:  # noqa: ASYNC109
        await super()._wait(coro)


class Tables(TableManager):
    """None; but Faust's way to the first fetch goes through here."""

    @property
    def recovery(self) -> Recovery:
        if self._recovery is None:
            self._recovery = PatientRecovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery
