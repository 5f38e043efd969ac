"""The Faust app of a stage, with the settings under which it is what the runner wants."""

from collections.abc import Awaitable, Callable

from faust.types import TP

from processors.runner.installation import Installation
from processors.runner.recovery import Tables
from processors.runner.stage import Stage
from processors.runner.transport import BatchApp

#: How long an answer of Kafka's may be missing before the connection is given up: one that was lost holds up whatever
#: waits behind it. Longer than a session: so long a rebalance may take, during which Kafka answers nobody who joins.
ANSWER_AFTER_SESSION_S = 7.0
#: A consumer that has fetched nothing for so long leaves its group, and does not come back (aiokafka and Faust wait for
#: each other then). Ours have good reasons not to fetch: no partition, or all of them held up by an outage.
NEVER_S = 1e9


class StageApp(BatchApp):
    """Lanes end before Faust handles a rebalance and start after it: none outlives its assignment."""

    lanes_lost: Callable[[set[TP]], Awaitable[None]]
    lanes_found: Callable[[set[TP]], None]

    async def _on_partitions_revoked(self, revoked: set[TP]) -> None:
        await self.lanes_lost(revoked)
        await super()._on_partitions_revoked(revoked)
        await self.lanes_lost(revoked)

    async def _on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        await self.lanes_lost(assigned)
        await super()._on_partitions_assigned(assigned, generation_id)
        self.lanes_found(assigned)


def make_app(stage: Stage, installation: Installation) -> StageApp:
    """An app without agents."""
    # Also its producer's, which nobody uses: it would wait for twenty minutes before the worker has begun.
    answer_s = installation.session_timeout_s + ANSWER_AFTER_SESSION_S
    app = StageApp(
        installation.prefix + stage.name,
        broker="kafka://" + installation.kafka.replace(",", ";kafka://"),
        broker_credentials=installation.access.credentials(),
        store="memory://",
        TableManager=Tables,
        table_standby_replicas=0,
        topic_disable_leader=True,
        topic_allow_declare=False,
        web_enabled=False,
        agent_supervisor="mode.CrashingSupervisor",
        key_serializer="raw",
        value_serializer="raw",
        stream_wait_empty=False,
        consumer_auto_offset_reset="earliest",
        # These two count batches. Commits to Kafka only inform: PostgreSQL owns the position.
        stream_buffer_maxsize=8,
        broker_commit_every=1_000_000,
        broker_commit_interval=1.0,
        broker_max_poll_records=stage.max_records,
        consumer_max_fetch_size=1024 * 1024,
        broker_request_timeout=answer_s,
        producer_request_timeout=answer_s,
        broker_max_poll_interval=NEVER_S,
        broker_session_timeout=installation.session_timeout_s,
        broker_heartbeat_interval=installation.session_timeout_s / 5,
    )
    app.fetch_every_s = stage.gather.seconds / 20 if stage.gather else stage.fetch_every_s
    app.joins_lanes = stage.joins_lanes
    return app
