"""What can go wrong in a batch, by name. (The third name, Rejected, is a model: schemas.failures.RejectedEvent.)"""

import asyncio

import msgspec
import psycopg
from aiokafka.errors import KafkaError
from confluent_kafka import KafkaException

#: SQLSTATE classes that can be a record's fault: cardinality, data, constraints, limits. Whatever else PostgreSQL says
#: (a table is missing, a right, an index is broken) it would say of every record: our statements are always the same.
_OF_THE_RECORD = frozenset({"21", "22", "23", "54"})


#: The reason of a delivery that was tried for as long as its destination says.
GAVE_UP = "destination_gave_up"


class Poison(Exception):
    """This record can never succeed here. `reason` is a code from docs/input.md."""

    def __init__(self, reason: str, exception: str = "") -> None:
        super().__init__(reason)
        self.reason, self.exception = reason, exception


class Unavailable(Exception):
    """PostgreSQL, Kafka or a destination cannot serve now: the batch starts again, later. `cause` is for metrics, `why`
    says more to whoever reads the log."""

    def __init__(self, cause: str, why: str = "") -> None:
        super().__init__(cause)
        self.cause, self.why = cause, why


class Later(msgspec.Struct, frozen=True):
    """There was no answer: it may be asked again, not before so many seconds. `error`: what becomes of it at last."""

    error: str
    after_s: float = 0.0


class TooSlow(Exception):
    """PostgreSQL ended the transaction of a step that had not asked it anything for too long: fewer records at a time
    may go through."""


class LaneStopped(Exception):
    """The lane must not go on by itself: going on would skip or repeat what nobody could explain.

    `mendable`: an operator's command may remove the reason (`headwater recover`), so the lane looks again now and then.
    """

    def __init__(self, why: str, mendable: bool = True) -> None:
        super().__init__(why)
        self.mendable = mendable


class Fenced(Exception):
    """Another worker has taken this lane over. It ends here, and does not start over."""


def is_cancelled() -> bool:
    """Whether whoever runs now is to end. A CancelledError alone does not say so: what it waited for may have been
    cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def unavailable_cause(error: BaseException) -> str | None:
    """What is unavailable, where the error says that something is; None where the error is about the data or a bug."""
    if isinstance(error, Unavailable):
        return error.cause
    if isinstance(error, OSError | KafkaException | KafkaError):
        return type(error).__name__  # a full disk, a network, a broker, a timeout
    if isinstance(error, psycopg.Error):
        state = error.sqlstate
        if state is None:
            is_outage = isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)
            return "postgresql" if is_outage else None
        return None if state[:2] in _OF_THE_RECORD else f"postgresql {state}"
    return None


def poison_of(error: Exception) -> Poison:
    """The error of a single record, as what it says about that record. Never the error's text: it may quote data."""
    if isinstance(error, Poison):
        return error
    if isinstance(error, psycopg.Error):
        return Poison("refused_by_postgresql", f"{type(error).__name__} {error.sqlstate}")
    return Poison("bug", type(error).__name__)
