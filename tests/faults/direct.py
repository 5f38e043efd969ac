"""Payloads straight into `tracks`, as a high-volume producer writes them: in the ledger first, all the same."""

import random
from collections.abc import Iterator

from confluent_kafka import KafkaError, Message, Producer

from tests.faults.cluster import Cluster
from tests.faults.definitions import CANARY
from tests.faults.load import Sending


class DirectLoad:
    """A producer of its own that waits for all acknowledgements."""

    def __init__(self, cluster: Cluster, visits: Sending) -> None:
        self._cluster, self._visits = cluster, visits
        self._producer = Producer(
            {
                "bootstrap.servers": cluster.kafka,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",  # as the door does, so that a session stays where it is
                "log_level": 0,
            }
        )

    def write(self, payloads: int, poison: Iterator[bytes] | None = None, poison_every: int = 10) -> int:
        """Write so many payloads, and between them a poisonous record now and then; how many events they hold."""
        taken = []
        for _ in range(payloads):
            session, payload = self._visits.take()
            self._visits.give_back(session)
            taken.append(payload)
        self._cluster.ledger.intend_all([(payload.number, payload.body) for payload in taken])
        for number, payload in enumerate(taken):
            if poison is not None and number % poison_every == 0:
                self.write_bytes(next(poison))
            report = _Report(self._cluster, payload.number)
            self._producer.produce(
                self._cluster.prefix + "tracks", payload.body.encode(), key=payload.key, on_delivery=report
            )
            self._producer.poll(0)
        self.flush()
        return sum(payload.events - payload.refused for payload in taken)

    def write_bytes(self, value: bytes) -> None:
        self._producer.produce(self._cluster.prefix + "tracks", value)

    def flush(self) -> None:
        assert self._producer.flush(60) == 0


class _Report:
    """Notes in the ledger what became of one record."""

    def __init__(self, cluster: Cluster, number: str) -> None:
        self._ledger, self._number = cluster.ledger, number

    def __call__(self, error: KafkaError | None, message: Message) -> None:
        self._ledger.answer(self._number, "unknown" if error else "ok", 0)


def random_bytes(chance: random.Random) -> Iterator[bytes]:
    """Bytes that are no payload."""
    while True:
        yield b"\xff" + CANARY.encode() + chance.randbytes(chance.randrange(20, 2000))
