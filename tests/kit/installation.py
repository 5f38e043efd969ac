"""An installation of its own for a test: topics under a prefix, a database, definitions, and the processes."""

import asyncio
import json
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import psycopg
from confluent_kafka import (
    Consumer,
    ConsumerGroupState,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from deploy.installation import create_topics, migrate_database
from deploy.kafka import NEVER_GIVE_UP_S
from deploy.operations.applying import apply_folder
from deploy.settings import Settings
from tests.kit.forks import Fork
from tests.kit.ports import hold_port
from tests.kit.processes import REPOSITORY, Child, environment, headwater
from tests.kit.services import Services
from tests.kit.waiting import until

#: What each stage reads, as the documentation says.
READS: Mapping[str, tuple[str, ...]] = {
    "validate": ("tracks",),
    "identify": ("events-valid",),
    "persist": ("events-identified",),
    "route": ("events-accepted",),
    "run-workflows": ("workflow-runs",),
    "merge": ("merge-jobs",),
    "segment": ("segmentation-jobs",),
    "deliver": ("profile-changes",),
    "archive": ("tracks",),
    "record-failures": ("events-rejected", "dead-letters"),
}
ALL = tuple(READS)
#: As far as events are recorded, or their failure is.
RECORDING = ("validate", "identify", "persist", "record-failures")
SECRETS_KEY = "dGVzdHMgb25seTogdGhpcnR5LXR3byBieXRlcyBsb24="
IDENTITY_KEY = "a key for tests only, 32 bytes.."

Place = tuple[int, int]
#: (stage, topic, partition)
Lane = tuple[str, str, int]
_POSITIONS = "select stage, topic, partition, next_offset from stage_progress"


class Installation:
    """To be closed. Everything it reads it reads by plain SQL and plain consumers."""

    def __init__(
        self,
        services: Services,
        folder: Path,
        definitions: str,
        partitions: int = 2,
        forked: bool = True,
        **settings: Any,
    ) -> None:
        """`forked`: processes and commands begin as copies of one that has loaded everything, which costs a tenth; else
        each starts as a user would start it."""
        self.services, self.folder = services, folder
        self.prefix = f"t{uuid.uuid4().hex[:8]}-"
        self.partitions, self._forked = partitions, forked
        self.database_url = services.new_database()
        self.kafka = services.kafka.address
        self._held = hold_port()
        self.port = self._held.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.children: dict[str, Child] = {}
        self._stage_of: dict[str, str] = {}
        self._client = httpx.Client(base_url=self.url, trust_env=False, timeout=30)
        self._admin = AdminClient({"bootstrap.servers": self.kafka, "log_level": 0})
        self._asking: dict[str, Consumer] = {}
        self._producer: Producer | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.settings = Settings(
            data=folder / "data",
            kafka=self.kafka,
            database_url=self.database_url,
            http_port=self.port,
            topic_prefix=self.prefix,
            partitions=partitions,
            identity_key=IDENTITY_KEY,
            **{"private_networks": "127.0.0.0/8", "secrets_key": SECRETS_KEY, "archive_seconds": 2, **settings},
        )
        asyncio.run(migrate_database(self.settings))
        create_topics(self.settings)
        if definitions:
            self.apply(definitions)

    # --- preparing and running -----------------------------------------------------------------------------------

    def apply(self, definitions: str) -> None:
        """Apply these definitions (YAML)."""
        folder = self.folder / f"definitions-{uuid.uuid4().hex[:6]}"
        folder.mkdir()
        (folder / "all.yaml").write_text(definitions)
        assert asyncio.run(apply_folder(self.settings, folder, False, lambda lines: True))

    def start(self, *stages: str, name: str = "", **more: str) -> None:
        """Start a process of each of these stages (`ingest` is the door), with `more` variables in its environment."""
        for stage in stages:
            self._start(name or stage, ["ingest"] if stage == "ingest" else ["worker", stage], **more)

    def start_door(self) -> None:
        """Start the door and wait until it takes payloads."""
        self._start("ingest", ["ingest"])
        self.wait_ready()

    def wait_ready(self, within_s: float = 30) -> None:
        until(lambda: self.get_status("/ready") == 200, within_s, self.tell)

    def get_status(self, path: str) -> int:
        try:
            return self._client.get(path).status_code
        except httpx.TransportError:
            return 0

    def get(self, path: str) -> httpx.Response:
        return self._client.get(path)

    def _start(self, name: str, arguments: Sequence[str], **more: str) -> None:
        assert name not in self.children or not self.children[name].running
        self.children[name] = Child(arguments, self.variables() | more, self.folder / f"{name}.log", self._forked)
        self._stage_of[name] = arguments[-1]

    def variables(self) -> dict[str, str]:
        """The environment of its processes."""
        return environment(self.settings.model_dump(exclude_defaults=True))

    def kill(self, name: str) -> None:
        """kill -9."""
        self.children[name].kill()

    def restart(self, name: str, stage: str = "") -> None:
        self._start(name, ["worker", stage or name])

    def stop(self, name: str) -> None:
        """TERM, and wait for the end."""
        assert self.children.pop(name).terminate() == 0

    def close(self) -> None:
        """End all children and drop what they used."""
        for child in self.children.values():
            if child.running:
                child.signal(signal.SIGCONT)
                child.kill()
        for consumer in self._asking.values():
            consumer.close()
        self._client.close()
        self._held.close()

    def command(self, *arguments: str, within_s: float = 60, **more: str) -> subprocess.CompletedProcess[str]:
        """A command of `headwater`, run to its end, with `more` variables in its environment."""
        variables = self.variables() | more
        if self._forked:
            said = Path(tempfile.mkdtemp(dir=self.folder))
            process = Fork(arguments, variables, said / "output", said / "errors")
            try:
                code = process.wait(within_s)
            finally:
                process.kill()
            texts = (said / "output").read_text(), (said / "errors").read_text()
            return subprocess.CompletedProcess(arguments, code, *texts)
        return subprocess.run(
            headwater(*arguments),
            cwd=REPOSITORY,
            env=variables,
            capture_output=True,
            text=True,
            timeout=within_s,
            stdin=subprocess.DEVNULL,
        )

    def json(self, *arguments: str, **more: str) -> Any:
        """What a command of `headwater` says with --json."""
        done = self.command(*arguments, "--json", **more)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    # --- sending -------------------------------------------------------------------------------------------------

    def track(self, payload: Any = None, **request: Any) -> httpx.Response:
        """POST /track."""
        if payload is not None:
            request["json"] = payload
        return self._client.post("/track", **request)

    def write(self, value: bytes | None, key: bytes | None = None, topic: str = "tracks", headers: Any = None) -> Place:
        """Write one record as any producer would; (partition, offset)."""
        return self.write_all([value], key, topic, headers)[0]

    def write_all(
        self, values: Iterable[bytes | None], key: bytes | None = None, topic: str = "tracks", headers: Any = None
    ) -> list[Place]:
        """Write records; their places, in order."""
        places: list[Message] = []
        if self._producer is None:
            self._producer = Producer({"bootstrap.servers": self.kafka, "acks": "all", "log_level": 0})

        def report(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            places.append(message)

        for value in values:
            self._producer.produce(self.prefix + topic, value, key=key, headers=headers, on_delivery=report)
            if key is None:
                self._producer.poll(0)
        assert self._producer.flush(30) == 0
        return [(message.partition() or 0, message.offset() or 0) for message in places]

    # --- reading -------------------------------------------------------------------------------------------------

    def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        options = "-c statement_timeout=60s"
        with psycopg.connect(self.database_url, autocommit=True, connect_timeout=10, options=options) as connection:
            return connection.execute(query.encode(), values or None).fetchall()

    def one(self, query: str, *values: Any) -> Any:
        """The first column of the only row."""
        ((value, *_),) = self.sql(query, *values)
        return value

    def ends(self, topics: Iterable[str]) -> dict[tuple[str, int], int]:
        """(topic, partition) to the end of what is committed there."""
        existing = self._admin.list_topics(timeout=10).topics
        asked = {
            TopicPartition(self.prefix + topic, partition): OffsetSpec.latest()
            for topic in topics
            for partition in existing[self.prefix + topic].partitions
        }
        found = self._admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=10)
        return {
            (place.topic.removeprefix(self.prefix), place.partition): future.result(10).offset
            for place, future in found.items()
        }

    def records(self, topic: str) -> list[Message]:
        """All that a topic holds now, partition by partition in order, as a consumer reads it."""
        ends = self.ends([topic])
        consumer = Consumer(
            {
                "bootstrap.servers": self.kafka,
                "group.id": f"{self.prefix}reader",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "earliest",
                "isolation.level": "read_committed",
                "log_level": 0,
            }
        )
        left = {partition for (_, partition), end in ends.items() if end}
        consumer.assign([TopicPartition(self.prefix + topic, partition, 0) for partition in left])
        found = []
        try:
            while left:
                message = consumer.poll(10)
                assert message is not None, f"{topic} is not read to its end"
                error = message.error()
                if error is None:
                    found.append(message)
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
                else:
                    raise KafkaException(error)
        finally:
            consumer.close()
        return sorted(found, key=lambda message: (message.partition(), message.offset()))

    def bodies(self, topic: str) -> list[dict[str, Any]]:
        """The records of a topic that holds JSON."""
        return [json.loads(message.value()) for message in self.records(topic)]

    def lag(self, stages: Iterable[str] = (), positions: Mapping[Lane, int] | None = None) -> dict[Lane, int]:
        """Lanes to the records that each has still to process, by the stored positions or by these; only those that
        have some."""
        reads = {stage: self._reads(stage) for stage in stages or self._stages()}
        ends = self.ends({topic for topics in reads.values() for topic in topics})
        if positions is None:
            positions = self._positions()
        found = {}
        for stage, topics in reads.items():
            for (topic, partition), end in ends.items():
                # profile-changes is written in transactions: its last offset is the marker that ends the last of them.
                last = end - 1 if topic == "profile-changes" else end
                waiting = last - positions.get((stage, topic, partition), 0)
                if topic in topics and waiting > 0:
                    found[stage, topic, partition] = waiting
        return found

    def _stages(self) -> set[str]:
        """The stages that have processes."""
        return {self._stage_of[name] for name in self.children} - {"ingest"}

    def _reads(self, stage: str) -> tuple[str, ...]:
        return READS.get(stage) or (f"destination-{stage.removeprefix('dispatch-')}",)

    def wait_through(self, within_s: float = 60, stages: Iterable[str] = ()) -> None:
        """Return when nothing waits before any stage that runs, and all that they have put out is where it goes.

        By what Kafka was told of their positions, about once a second: each is stored a moment before the outputs are
        in Kafka, and told when they are. Then the ends: had anything come since, they would say so. Who is frozen tells
        nothing, and after a restore what was told is more than what is stored.
        """
        names, left = list(stages) or self._stages(), dict[Lane, int]()

        def is_through() -> bool:
            awake = {stage for stage, count in self._awake(names).items() if count}
            told, stored = self._told(awake), self._positions()
            known = {
                lane: min(offset, told.get(lane, 0)) if lane[0] in awake else offset for lane, offset in stored.items()
            }
            left.clear()
            try:
                left.update(self.lag(names, known))
            except KafkaException as error:
                if error.args[0].code() != KafkaError._NOENT:  # for a moment Kafka may not know who leads a partition
                    raise
                left["kafka", str(error), 0] = 1
            return not left

        until(is_through, within_s, lambda: f"before them, as told to Kafka, {left}; {self.tell()}")

    def _told(self, stages: Iterable[str]) -> dict[Lane, int]:
        """Positions that Kafka was told of, as a consumer of each group learns them; none where Kafka does not say."""
        existing = self._admin.list_topics(timeout=10).topics
        found = {}
        for stage in stages:
            asking = self._asking.pop(stage, None) or Consumer(
                {"bootstrap.servers": self.kafka, "group.id": self.prefix + stage, "log_level": 0}
            )
            places = [
                TopicPartition(self.prefix + topic, number)
                for topic in self._reads(stage)
                for number in existing[self.prefix + topic].partitions
            ]
            try:
                told = asking.committed(places, timeout=5)
            except KafkaException:
                told = []
            if not told or any(one.error for one in told):
                asking.close()
                continue
            self._asking[stage] = asking
            found |= {(stage, one.topic.removeprefix(self.prefix), one.partition): max(one.offset, 0) for one in told}
        return found

    def wait_joined(self, *stages: str, within_s: float = 60) -> None:
        """Return when the workers of these stages that run (none that is frozen) are their consumer groups."""
        until(
            lambda: self.members(stages) == self._awake(stages),
            within_s,
            lambda: f"members {self._awake(stages)}; {self.tell()}",
        )

    def _awake(self, stages: Iterable[str]) -> dict[str, int]:
        awake = [name for name, child in self.children.items() if child.running and not child.frozen]
        return {stage: sum(self._stage_of[name] == stage for name in awake) for stage in stages}

    def members(self, stages: Iterable[str]) -> dict[str, int]:
        """Stage to the members of its group, 0 while that group changes."""
        asked = self._admin.describe_consumer_groups(
            [self.prefix + stage for stage in stages], request_timeout=NEVER_GIVE_UP_S
        )
        try:
            groups = {group: future.result(10) for group, future in asked.items()}
        except KafkaException as error:
            if error.args[0].code() != KafkaError.COORDINATOR_LOAD_IN_PROGRESS:
                raise
            return {}  # a new broker's first group: nobody has joined yet
        return {
            name.removeprefix(self.prefix): len(group.members) if group.state == ConsumerGroupState.STABLE else 0
            for name, group in groups.items()
        }

    def _positions(self) -> dict[Lane, int]:
        return {tuple(lane): offset for *lane, offset in self.sql(_POSITIONS)}

    def tell(self) -> str:
        """What one wants to know when something did not come about."""
        ended = {name: child.output()[-1500:] for name, child in self.children.items() if not child.running}
        words = [
            f"{name}: {line}"
            for name, child in self.children.items()
            for line in child.output().splitlines()[-2:]
            if "working" not in line
        ]
        try:
            lag: Any = self.lag()
        except Exception as error:
            lag = type(error).__name__
        return f"lag {lag}; ended {ended}; last words {words}"

    def accounting(self) -> dict[str, dict[str, int]]:
        """Each source's events by what became of them, counted from the tables; `dropped` where some were."""
        found: dict[str, dict[str, int]] = {}

        def add(source: str, **numbers: int) -> None:
            empty = dict.fromkeys(("accepted", "recorded", "duplicates", "rejected", "dead_letters"), 0)
            entry = found.setdefault(source, empty)
            for name, number in numbers.items():
                entry[name] = entry.get(name, 0) + int(number)

        for source, accepted in self.sql("select source, sum(accepted) from source_counts group by 1"):
            add(source, accepted=accepted)
        query = "select source, sum(recorded), sum(duplicates) from recorded_counts group by 1"
        for source, recorded, duplicates in self.sql(query):
            add(source, recorded=recorded, duplicates=duplicates)
        for source, dropped in self.sql("select source, sum(dropped) from dropped_counts group by 1"):
            add(source, dropped=dropped)
        for source, kind, count in self.sql(
            "select source, kind, count(*) from failures where state <> 'replayed' group by 1, 2"
        ):
            add(source, **{"rejected" if kind == "rejected" else "dead_letters": count})
        return found

    def require_balance(self) -> dict[str, dict[str, int]]:
        """The accounting, which must come out even for each source."""
        found = self.accounting()
        for source, numbers in found.items():
            rest = dict(numbers)
            accepted = rest.pop("accepted")
            assert accepted == sum(rest.values()), (source, numbers)
        return found
