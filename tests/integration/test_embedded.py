"""The embedded servers, for real: they start, keep their data, survive a crash, refuse clearly and leave nothing."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.embedded import kafka as kafka_module
from deploy.embedded.kafka import EmbeddedKafka, listed_jars
from deploy.embedded.postgres import EmbeddedPostgres, may_read, shared_buffers
from deploy.embedded.process import EmbeddedError, EmbeddedServer

REPOSITORY = Path(__file__).parents[2]

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent died")


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """A running Kafka, shared: it takes seconds to start."""
    server = EmbeddedKafka(tmp_path_factory.mktemp("kafka") / "a folder, with a comma", short_lived=True)
    server.start()
    yield server
    server.kill()


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "postgres")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def eventually(holds: Callable[[], bool], within_s: float = 10) -> bool:
    deadline = time.monotonic() + within_s
    while not (answer := holds()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return answer


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def make_topic(kafka: EmbeddedKafka, name: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.address})
    admin.create_topics([NewTopic(name, 1, 1)])[name].result(10)


def write(kafka: EmbeddedKafka, topic: str, value: bytes) -> None:
    failures: list[object] = []
    producer = Producer({"bootstrap.servers": kafka.address, "enable.idempotence": True})
    producer.produce(topic, value, on_delivery=lambda error, _: failures.append(error) if error else None)
    assert producer.flush(20) == 0
    assert not failures


def read(kafka: EmbeddedKafka, topic: str, count: int) -> list[bytes | None]:
    settings = {"bootstrap.servers": kafka.address, "group.id": topic, "auto.offset.reset": "earliest"}
    consumer = Consumer({**settings, "session.timeout.ms": 6000})
    consumer.subscribe([topic])
    try:
        return [message.value() for message in consumer.consume(count, timeout=20)]
    finally:
        consumer.close()


def rows(postgres: EmbeddedPostgres) -> list[tuple[int]]:
    with psycopg.connect(postgres.url) as connection:
        return connection.execute("SELECT number FROM kept ORDER BY number").fetchall()


def keep(postgres: EmbeddedPostgres, number: int) -> None:
    with psycopg.connect(postgres.url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (number int)")
        connection.execute("INSERT INTO kept VALUES (%s)", (number,))


@pytest.mark.kafka
def test_kafka_keeps_records_and_its_port_over_an_orderly_end_and_over_a_crash(kafka: EmbeddedKafka) -> None:
    make_topic(kafka, "kept")
    address = kafka.address

    write(kafka, "kept", b"before the stop")
    kafka.stop()
    assert not kafka.running
    kafka.start()
    write(kafka, "kept", b"before the crash")
    kafka.kill()
    assert not kafka.running
    kafka.start()

    assert read(kafka, "kept", 2) == [b"before the stop", b"before the crash"]
    assert kafka.address == address


@pytest.mark.kafka
def test_kafka_makes_no_topic_that_nobody_made(kafka: EmbeddedKafka) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.address})
    admin.list_topics("unknown", timeout=10)
    assert "unknown" not in admin.list_topics(timeout=10).topics


@pytest.mark.kafka
def test_kafka_freezes_and_goes_on(kafka: EmbeddedKafka) -> None:
    kafka.pause()
    assert psutil.Process(kafka.pid).status() == psutil.STATUS_STOPPED
    kafka.resume()
    make_topic(kafka, "after-the-pause")


@pytest.mark.kafka
def test_a_second_kafka_on_the_same_folder_is_refused(kafka: EmbeddedKafka) -> None:
    second = EmbeddedKafka(kafka._folder)
    with pytest.raises(EmbeddedError, match="is in use by another process; stop that one first"):
        second.start()
    assert kafka.running


@pytest.mark.kafka
def test_a_kafka_that_dies_while_it_starts_says_why(tmp_path: Path) -> None:
    server = EmbeddedKafka(tmp_path / "kafka", settings={"num.io.threads": "none"})
    with pytest.raises(EmbeddedError, match=r"Kafka: .*none"):
        server.start()
    assert not server.running


@pytest.mark.kafka
def test_a_jar_that_lost_a_byte_makes_the_cache_incomplete(tmp_path: Path) -> None:
    (tmp_path / "one.jar").write_bytes(b"jar")
    (tmp_path / "jars.txt").write_text("3 one.jar\n")
    assert listed_jars(tmp_path) == [tmp_path / "one.jar"]
    (tmp_path / "one.jar").write_bytes(b"ja")
    assert listed_jars(tmp_path) == []


@pytest.mark.kafka
def test_without_a_network_the_jars_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setattr(kafka_module.platformdirs, "user_cache_path", lambda _: tmp_path / "cache")
    with pytest.raises(EmbeddedError, match="its jars could not be fetched, is there a network"):
        EmbeddedKafka(tmp_path / "kafka").start()


@pytest.mark.postgres
def test_postgres_keeps_rows_and_its_port_over_an_orderly_end_and_over_a_crash(postgres: EmbeddedPostgres) -> None:
    url = postgres.url

    keep(postgres, 1)
    postgres.stop()
    assert not postgres.running
    postgres.start()
    keep(postgres, 2)
    postgres.kill()
    assert not postgres.running
    postgres.start()

    assert rows(postgres) == [(1,), (2,)]
    assert postgres.url == url


@pytest.mark.postgres
def test_postgres_starts_although_its_old_process_number_is_another_process_now(postgres: EmbeddedPostgres) -> None:
    pid_file = postgres._folder / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    postgres.kill()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    postgres.start()


@pytest.mark.postgres
def test_postgres_lets_nobody_in_without_the_password(postgres: EmbeddedPostgres) -> None:
    url = f"postgresql://headwater:guess@{postgres.address}/headwater"
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url)
    assert (postgres._folder / "password").stat().st_mode & 0o777 == 0o600


@pytest.mark.postgres
def test_postgres_gives_up_nothing_for_speed(postgres: EmbeddedPostgres) -> None:
    names = ("fsync", "synchronous_commit", "full_page_writes", "server_encoding", "TimeZone", "listen_addresses")
    with psycopg.connect(postgres.url) as connection:
        values = [connection.execute(f"SHOW {name}".encode()).fetchone() for name in names]
    assert values == [("on",), ("on",), ("on",), ("UTF8",), ("UTC",), ("127.0.0.1",)]


@pytest.mark.postgres
@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as another user")
def test_root_may_keep_data_below_a_folder_that_is_closed_to_others(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    server = EmbeddedPostgres(closed / "postgres")
    try:
        server.start()
        owner = (closed / "postgres" / "data").stat()
        assert psutil.Process(server.pid).uids().real == owner.st_uid != 0
        assert not may_read(closed / "postgres", (owner.st_uid, owner.st_gid))
    finally:
        server.kill()


@pytest.mark.parametrize("server", [EmbeddedKafka, EmbeddedPostgres])
def test_a_taken_port_gives_one_clear_error(
    server: type[EmbeddedKafka] | type[EmbeddedPostgres], tmp_path: Path, taken_port: int
) -> None:
    with pytest.raises(EmbeddedError) as refusal:
        server(tmp_path, port=taken_port).start()
    assert str(refusal.value) == (
        f"{server.name}: port {taken_port} on 127.0.0.1 is taken;"
        f" stop what listens there or choose another with {server.port_variable}"
    )


def test_a_server_that_is_started_again_is_where_it_was_or_says_that_it_cannot_be(postgres: EmbeddedPostgres) -> None:
    address, port = postgres.address, int(postgres.address.rpartition(":")[2])
    postgres.kill()
    with socket.create_server(("127.0.0.1", port)), pytest.raises(EmbeddedError, match=f"port {port} .* is taken"):
        postgres.start()
    postgres.start()
    assert postgres.address == address


@pytest.mark.parametrize("server", [EmbeddedKafka, EmbeddedPostgres])
def test_a_folder_that_cannot_be_made_gives_one_clear_error(
    server: type[EmbeddedKafka] | type[EmbeddedPostgres], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match=f"{server.name}: cannot use .*: Not a directory"):
        server(tmp_path / "file" / "folder").start()


START_AND_WAIT = """
import signal, sys
from pathlib import Path
from deploy.embedded.kafka import EmbeddedKafka
from deploy.embedded.postgres import EmbeddedPostgres
server = {"kafka": EmbeddedKafka, "postgres": EmbeddedPostgres}[sys.argv[1]](Path(sys.argv[2]))
server.start()
print("started", flush=True)
signal.pause()
"""


@on_linux
@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.parametrize("server", [EmbeddedKafka, EmbeddedPostgres])
def test_servers_die_with_a_killed_parent_and_can_be_started_again(
    server: type[EmbeddedKafka] | type[EmbeddedPostgres], tmp_path: Path
) -> None:
    command = [sys.executable, "-c", START_AND_WAIT, server.name.lower().removesuffix("ql"), str(tmp_path / "server")]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "started\n"
        children = [child.pid for child in psutil.Process(parent.pid).children(recursive=True)]
        assert children
        parent.send_signal(signal.SIGKILL)
        assert eventually(lambda: not any(map(lives, children)))

    again: EmbeddedServer = server(tmp_path / "server")
    again.start()
    again.kill()


@pytest.mark.parametrize(("limit", "buffers"), [("1073741824", "256MB"), ("8589934592", "512MB"), (str(2**60), None)])
def test_postgresql_buffers_a_sixteenth_of_the_memory_that_it_may_take(
    limit: str, buffers: str | None, tmp_path: Path
) -> None:
    told = tmp_path / "memory.max"
    told.write_text(f"{limit}\n")
    unlimited = tmp_path / "unlimited"
    unlimited.write_text("max\n")
    assert shared_buffers(told) == (buffers or shared_buffers(unlimited))
    assert 256 <= int(shared_buffers(unlimited).removesuffix("MB")) <= 1024
