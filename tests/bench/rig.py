"""What is measured: an installation on servers of its own, with the CPU time, memory and bytes that it has used."""

import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import psycopg

from deploy.embedded.kafka import EmbeddedKafka
from deploy.embedded.postgres import EmbeddedPostgres
from deploy.turns import take_long_turns
from tests.kit.installation import Installation

#: Process to CPU seconds used so far.
Cpu = Mapping[str, float]


class Servers:
    """Kafka and PostgreSQL with the settings that `headwater up` gives them. Stands in for the tests' Services."""

    def __init__(self, folder: Path) -> None:
        self.kafka, self.postgres = EmbeddedKafka(folder / "kafka"), EmbeddedPostgres(folder / "postgres")
        self.folder, self._databases = folder, 0

    def start(self) -> "Servers":
        take_long_turns()  # as `headwater up` does: what is started from here on, too
        self.postgres.start()
        self.kafka.start()
        return self

    def stop(self) -> None:
        self.kafka.kill()
        self.postgres.kill()

    def new_database(self) -> str:
        self._databases += 1
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            connection.execute(f"create database bench_{self._databases}".encode())
        return f"{self.postgres.url.rpartition('/')[0]}/bench_{self._databases}"


class Rig(Installation):
    """An installation to be measured."""

    def __init__(self, servers: Servers, folder: Path, definitions: str, partitions: int = 4, **settings: Any) -> None:
        super().__init__(servers, folder, definitions, partitions, forked=False, **settings)  # type: ignore[arg-type]
        self._servers = servers
        self._connection = psycopg.connect(self.database_url, autocommit=True)

    def start_door(self) -> None:
        """On a core of its own, as `headwater up` starts it."""
        self.start("ingest")
        pin(self.children["ingest"].pid)
        self.wait_ready()

    def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """On one connection that stays: a new one for each look would cost PostgreSQL more than a batch does."""
        return self._connection.execute(query.encode(), values or None).fetchall()

    def cpu(self, **more: int) -> Cpu:
        """CPU seconds of the servers, of all children, and of `more` processes (name=pid)."""
        pids = {"kafka": self._servers.kafka.pid, "postgres": self._servers.postgres.pid, **more}
        pids |= {name: child.pid for name, child in self.children.items() if child.running}
        return {name: _seconds(pid) for name, pid in pids.items()}

    def memory_mb(self) -> dict[str, float]:
        """Resident memory; of PostgreSQL without what its processes share."""
        pids = {"kafka": self._servers.kafka.pid, "postgres": self._servers.postgres.pid}
        pids |= {name: child.pid for name, child in self.children.items() if child.running}
        return {name: _memory(pid) for name, pid in pids.items()}

    def wal_bytes(self) -> int:
        """The place in PostgreSQL's log: grows by what is written."""
        return int(self.one("select pg_current_wal_lsn() - '0/0'"))

    def disk_bytes(self) -> dict[str, int]:
        """What Kafka's logs and this database hold."""
        logs = (self._servers.folder / "kafka").rglob("*.log")
        return {
            "kafka": sum(_size(path) for path in logs),
            "postgres": int(self.one("select pg_database_size(current_database())")),
        }

    def positions(self, stage: str) -> int:
        """Records that the stage has done, over all its lanes."""
        return int(
            self.one("select coalesce(sum(next_offset - first_offset), 0) from stage_progress where stage = %s", stage)
        )

    def close(self) -> None:
        super().close()
        self._connection.close()
        with psycopg.connect(self._servers.postgres.url, autocommit=True) as connection:
            name = self.database_url.rpartition("/")[2]
            connection.execute(f'drop database "{name}" with (force)'.encode())
        for future in self._admin.delete_topics(
            [name for name in self._admin.list_topics(timeout=10).topics if name.startswith(self.prefix)]
        ).values():
            future.result(30)


def pin(pid: int, number: int = 0) -> None:
    """From now on the process, and the threads that it starts, run on one of our cores, where the system can say so."""
    if sys.platform == "linux":
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(pid, {cores[number % len(cores)]})


def used(before: Cpu, after: Cpu) -> dict[str, float]:
    """CPU seconds between two readings; of processes that are in both."""
    return {name: after[name] - before[name] for name in after if name in before}


def _seconds(pid: int | None) -> float:
    """Of a process and its children, those that ended too."""
    total = 0.0
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        own = root.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        for child in root.children(recursive=True):
            with suppress(psutil.Error):
                times = child.cpu_times()
                total += times.user + times.system
    return total


def _memory(pid: int | None) -> float:
    total = 0
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.Error):
                info = process.memory_info()
                total += info.rss - (info.shared if process is not root else 0)
    return total / 1e6


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_blocks * 512
    return 0


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started
