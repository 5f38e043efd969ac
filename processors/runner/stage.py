"""What a stage is: a name, what it reads, the step, what it writes."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from schemas.topics import Topic

#: What it returns may still be to be made, one by one: the less a batch keeps of a record while it goes through the
#: others, the more of the processor's caches these find warm.
Step = Callable[..., Awaitable[Iterable[Any]]]


@dataclass(frozen=True)
class Gather:
    """Collect records until there are this many bytes or seconds of them. For stages that want few, large batches."""

    bytes: int
    seconds: float


@dataclass(frozen=True)
class Stage:
    """One station of the pipeline. Its name is its consumer group, its metric label, its module and its test."""

    name: str
    reads: tuple[Topic, ...]
    step: Step
    writes: tuple[Topic, ...] = ()
    #: The step's effects lie outside PostgreSQL (files, HTTP): it runs before the transaction, not inside it.
    outside: bool = False
    gather: Gather | None = None
    #: At least so long between two fetches that bring something. What comes meanwhile goes through all later stages
    #: together, so each of them works less often, and in this rhythm; a stage that reads what others write need not
    #: wait.
    fetch_every_s: float = 0.0
    #: Records in one batch at most.
    max_records: int = 3000

    @property
    def is_fenced(self) -> bool:
        """Whether each lane needs a publisher of its own."""
        return any(topic.fenced for topic in self.writes)

    @property
    def joins_lanes(self) -> bool:
        """Whether lanes may do small batches together, in one transaction."""
        return not (self.outside or self.gather)

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """The tools that the step asks for, by parameter name; its first parameter is the batch."""
        return tuple(inspect.signature(self.step).parameters)[1:]

    def bind(self, tools: Mapping[str, Any]) -> Callable[[Sequence[Any]], Awaitable[Iterable[Any]]]:
        """The step with its tools. Raises KeyError for a tool that is not there."""
        arguments = {name: tools[name] for name in self.needs}
        return lambda models: self.step(models, **arguments)
