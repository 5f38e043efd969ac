"""Where a worker works."""

from collections.abc import Callable

from processors.runner.access import OPEN, Access
from processors.runner.dead_letters import ReplayOf
from processors.runner.fail_points import Reach, nowhere
from processors.runner.partition_log import Administers
from processors.runner.publisher import Publishes
from processors.storage.database import Connect
from processors.storage.progress import LaneKey


class Installation:
    """What a worker needs from outside: Kafka, PostgreSQL, and how things are named there."""

    def __init__(
        self,
        kafka: str,
        prefix: str,
        connect: Connect,
        admin: Administers,
        publisher: Callable[[LaneKey], Publishes],
        lanes: int,
        session_timeout_s: float = 8,
        reach: Reach = nowhere,
        first_partition: int = 0,
        replay_of: ReplayOf = lambda payload: None,
        access: Access = OPEN,
    ) -> None:
        """`first_partition` is what the partitions of `tracks` are counted from in origins; `access`, what Kafka wants
        to see before it lets us in."""
        self.kafka, self.prefix, self.connect = kafka, prefix, connect
        self.admin, self.publisher, self.lanes = admin, publisher, lanes
        self.session_timeout_s, self.reach, self.first_partition = session_timeout_s, reach, first_partition
        self.replay_of, self.access = replay_of, access
