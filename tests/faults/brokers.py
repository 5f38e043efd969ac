"""Kafka for experiments: one that can be reached through a proxy as well, and three that copy each other."""

import base64
import shutil
import subprocess
import uuid
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from deploy.embedded.kafka import EmbeddedKafka
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.embedded.process import EmbeddedError, dying_with_parent, usable_port
from tests.faults.proxy import Proxy
from tests.kit.services import Services

HOST = "127.0.0.1"


class ProxiedKafka(EmbeddedKafka):
    """One node with a second listener, whose clients are sent through `proxy` for everything."""

    def __init__(self, folder: Path, heap_mb: int = 512) -> None:
        own, behind = free_ports(2)
        super().__init__(folder, port=own, heap_mb=heap_mb)
        self.proxy = Proxy(lambda: (HOST, behind))
        self._behind = behind

    def _write_properties(self, file: str, controller: int, log_dirs: str) -> str:
        own = f"PLAINTEXT://{self.address}"
        self._settings = {
            "listeners": f"{own},CONTROLLER://{HOST}:{controller},PROXIED://{HOST}:{self._behind}",
            "advertised.listeners": f"{own},PROXIED://{HOST}:{self.proxy.port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
        }
        return super()._write_properties(file, controller, log_dirs)


class ProxiedServices(Services):
    """Kafka and PostgreSQL that can be reached directly, and through a proxy each."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.kafka: ProxiedKafka = ProxiedKafka(folder / "kafka")
        self.to_postgres = Proxy(self._postgres_place)

    @property
    def kafka_by_proxy(self) -> str:
        return f"{HOST}:{self.kafka.proxy.port}"

    def database_by_proxy(self, url: str) -> str:
        """The same database's URL, through the proxy."""
        return url.replace(self.postgres.address, f"{HOST}:{self.to_postgres.port}")

    def kill(self) -> None:
        super().kill()
        self.kafka.proxy.close()
        self.to_postgres.close()

    def _postgres_place(self) -> tuple[str, int]:
        host, _, port = self.postgres.address.partition(":")
        return host, int(port)


class Broker(EmbeddedKafka):
    """One of three nodes: broker and controller at once."""

    def __init__(self, folder: Path, node: int, ports: list[int], controllers: list[int], cluster: str) -> None:
        voters = ",".join(f"{number}@{HOST}:{port}" for number, port in enumerate(controllers, 1))
        self._cluster = cluster
        self._controller = controllers[node - 1]
        self.node = node
        settings = {
            "node.id": str(node),
            "controller.quorum.voters": voters,
            "controller.quorum.bootstrap.servers": "",
            "listeners": f"PLAINTEXT://{HOST}:{ports[node - 1]},CONTROLLER://{HOST}:{self._controller}",
            "offsets.topic.replication.factor": "3",
            "transaction.state.log.replication.factor": "3",
            "transaction.state.log.min.isr": "2",
            "min.insync.replicas": "2",
            "default.replication.factor": "3",
            "unclean.leader.election.enable": "false",
            # Kafka's own patience, and more of it between controllers: three brokers and twelve workers on two cores
            # make each other wait, and must not be taken for dead because of that.
            "broker.session.timeout.ms": "9000",
            "broker.heartbeat.interval.ms": "2000",
            "controller.quorum.fetch.timeout.ms": "6000",
            "controller.quorum.election.timeout.ms": "2000",
            "controller.quorum.request.timeout.ms": "6000",
        }
        super().__init__(folder, port=ports[node - 1], heap_mb=400, settings=settings)

    def launch(self) -> None:
        """Start it and do not wait: alone it is no quorum."""
        self._launch()

    def wait(self) -> None:
        self._await_answer()

    def _write_properties(self, file: str, controller: int, log_dirs: str) -> str:
        written = super()._write_properties(file, self._controller, log_dirs)
        path = self._folder / file
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if not line.startswith("controller.quorum.bootstrap")))
        return written

    def _format(self, command: list[str], controller: int) -> None:
        shutil.rmtree(self._folder / "data.new", ignore_errors=True)
        properties = self._write_properties("format.properties", controller, log_dirs="data.new")
        tool = ["kafka.tools.StorageTool", "format", "-t", self._cluster, "-c", properties]
        done = subprocess.run(
            [*command, *tool], cwd=self._folder, capture_output=True, text=True, preexec_fn=dying_with_parent()
        )
        if done.returncode:
            raise EmbeddedError(f"Kafka: {self._folder} could not be prepared: {done.stderr or done.stdout}")
        (self._folder / "data.new").rename(self._folder / "data")

    def _answers(self) -> bool:
        try:
            client = AdminClient({"bootstrap.servers": self.address, "log_level": 0}, logger=None)
            return self.node in client.list_topics(timeout=2).brokers
        except KafkaException:
            return False


class ThreeBrokers(Services):
    """Three brokers (three copies, two of them in sync at least) and one PostgreSQL."""

    def __init__(self, folder: Path) -> None:
        self.postgres = EmbeddedPostgres(folder / "postgres", settings={"checkpoint_timeout": "30min"})
        ports = free_ports(6)
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        self.brokers = [Broker(folder / f"kafka-{n}", n, ports[:3], ports[3:], cluster) for n in (1, 2, 3)]
        self.kafka = _Several(self.brokers)  # type: ignore[assignment]

    def start(self) -> None:
        self.postgres.start()
        for broker in self.brokers:
            broker.launch()
        for broker in self.brokers:
            broker.wait()

    def kill(self) -> None:
        for broker in self.brokers:
            broker.kill()
        self.postgres.kill()


class _Several:
    """Several brokers, as far as an installation asks for one Kafka: where it is."""

    def __init__(self, brokers: list[Broker]) -> None:
        self._brokers = brokers

    @property
    def address(self) -> str:
        return ",".join(broker.address for broker in self._brokers)


def free_ports(count: int) -> list[int]:
    """So many different ports that nobody listens on."""
    found: set[int] = set()
    while len(found) < count:
        found.add(usable_port(0))
    return sorted(found)
