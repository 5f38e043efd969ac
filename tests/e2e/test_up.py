"""`headwater up` as a user sees it: one ready line, workers that come back, an end that leaves nothing but the data."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import psutil
import pytest

from deploy.embedded.process import usable_port
from tests.kit.definitions import payload
from tests.kit.processes import REPOSITORY, Child, environment, headwater
from tests.kit.serving import Handler, Server
from tests.kit.waiting import until

pytestmark = pytest.mark.slow

SHOP = REPOSITORY / "deploy/examples/shop"


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Up:
    """A running `headwater up`."""

    def __init__(self, folder: Path, port: int, definitions: Path, *options: str) -> None:
        self.folder, self.url = folder / "data", f"http://127.0.0.1:{port}"
        self.variables = environment(
            {"data": self.folder, "http_port": port, "partitions": 2, "private_networks": "127.0.0.0/8"}
        )
        self.child = Child(
            ["up", "--definitions", str(definitions), *options],
            self.variables,
            folder / f"up-{len(list(folder.iterdir()))}.log",
        )

    def wait_ready(self) -> None:
        until(lambda: "ready after" in self.child.output() or not self.child.running, 120, self.child.output)
        assert self.child.running, self.child.output()

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.child.pid).children(recursive=True)

    def running(self, *command: str) -> list[psutil.Process]:
        """Those of the family whose command ends so. Others may end while one looks: PostgreSQL's come and go."""
        found = []
        for process in self.family():
            with suppress(psutil.NoSuchProcess):  # a zombie, too
                if tuple(process.cmdline()[-len(command) :]) == command:
                    found.append(process)
        return found

    def policies(self) -> set[int]:
        """By which the kernel chooses who of the family works next."""
        found = set()
        for process in self.family():
            with suppress(ProcessLookupError):
                found.add(os.sched_getscheduler(process.pid))
        return found

    def worker(self, stage: str) -> psutil.Process | None:
        return next(iter(self.running("worker", stage)), None)

    def track(self, id: str) -> None:
        body = payload("shop", {"id": id, "type": "page-view"}, session=id)
        assert httpx.post(f"{self.url}/track", json=body, trust_env=False).status_code == 200

    def events(self) -> set[str]:
        done = subprocess.run(
            headwater("events", "--limit", "1000", "--json"),
            env=self.variables,
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return {event["id"] for event in json.loads(done.stdout)}

    def end(self) -> None:
        """TERM: everything is gone within ten seconds."""
        family = self.family()
        assert self.child.terminate(10) == 0
        assert not [process for process in family if alive(process)]

    def close(self) -> None:
        if self.child.running:
            family = self.family()
            self.child.kill()
            for process in family:
                if alive(process):
                    os.kill(process.pid, signal.SIGKILL)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def called() -> Iterator[tuple[str, list[str]]]:
    """A webhook: its URL, and the events that it was told of."""
    events: list[str] = []

    class Answering(Handler):
        def do_POST(self) -> None:
            events.append(json.loads(self.rfile.read(int(self.headers["content-length"])))["body"]["id"])
            self.send_response(200)
            self.end_headers()

    server = Server(Answering)
    yield server.url, events
    server.close()


def test_up_runs_everything_restarts_the_dead_ends_cleanly_and_keeps_its_data(
    tmp_path: Path, called: tuple[str, list[str]]
) -> None:
    url, told = called
    shop = shutil.copytree(SHOP, tmp_path / "shop")
    (shop / "hook.yaml").write_text(f"{{kind: destination, id: hook, type: webhook, url: {url}, events: [page-view]}}")
    port = usable_port(0)
    up = Up(tmp_path, port, shop)
    try:
        up.wait_ready()
        if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER:  # the servers, too
            assert up.policies() == {os.SCHED_BATCH}
        if sys.platform == "linux":
            assert [len(door.cpu_affinity()) for door in up.running("ingest")] == [1]
        (line,) = [line for line in up.child.output().splitlines() if "ready after" in line]
        assert f"POST {up.url}/track" in line
        up.track("first")
        worker = up.worker("persist")
        assert worker is not None
        worker.kill()
        until(lambda: "persist ended with -9; it starts again" in up.child.output(), 20, up.child.output)
        up.track("second")
        until(lambda: up.events() == {"first", "second"}, 60, up.child.output)
        until(lambda: set(told) == {"first", "second"}, 60, up.child.output)
        up.end()
        assert "ends:" not in up.child.output()
        up = Up(tmp_path, port, shop)
        up.wait_ready()
        assert up.events() == {"first", "second"}
        up.track("third")
        until(lambda: up.events() == {"first", "second", "third"}, 60, up.child.output)
        (metrics,) = set(re.findall(r"metrics of the whole pipeline: (\S+)", up.child.output()))
        until(lambda: set(told) == {"first", "second", "third"}, 60, up.child.output)
        assert 'headwater_events{outcome="recorded",source="shop"} 3.0' in httpx.get(metrics, trust_env=False).text
        up.end()
    finally:
        up.close()


def test_doors_of_up_share_its_port_and_are_counted_together_even_when_one_is_killed(tmp_path: Path) -> None:
    """Each request comes by a connection of its own, so both take some."""
    up = Up(tmp_path, usable_port(0), SHOP, "--workers", "ingest=2")

    sent: list[str] = []

    def door() -> str:
        """Which door has taken the next event: the ids of its requests begin with what is its own."""
        sent.append(f"event-{len(sent)}")
        body = payload("shop", {"id": sent[-1], "type": "page-view"}, session=sent[-1])
        answer = httpx.post(f"{up.url}/track", json=body, trust_env=False)
        assert answer.status_code == 200
        return answer.headers["x-request-id"].split("-")[0]

    def counted() -> set[float]:
        """By whoever is asked, both of them among them."""
        texts = [httpx.get(f"{up.url}/metrics", trust_env=False) for _ in range(20)]
        assert len({text.headers["x-request-id"].split("-")[0] for text in texts}) == 2
        found = (re.findall(r'door_events_total{source="shop",verdict="accepted"} (\S+)', text.text) for text in texts)
        return {float(number) for (number,) in found}

    try:
        up.wait_ready()
        doors = up.running("ingest")
        assert sorted(len(process.cpu_affinity()) for process in doors) == [1, 1]
        until(lambda: len({door() for _ in range(20)}) == 2, 30, up.child.output)
        until(lambda: counted() == {float(len(sent))}, 10, up.child.output)
        doors[0].kill()
        until(lambda: "ended with -9" in up.child.output(), 20, up.child.output)
        until(lambda: len({door() for _ in range(20)}) == 2, 30, up.child.output)
        until(lambda: counted() == {float(len(sent))}, 10, up.child.output)
        until(lambda: up.events() == set(sent), 60, up.child.output)
        up.end()
    finally:
        up.close()


def refused(*arguments: str, **settings: object) -> list[str]:
    """What a command that must fail says: lines on stderr."""
    done = subprocess.run(
        headwater(*arguments), env=environment(settings), cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_a_taken_port_gets_one_clear_line(tmp_path: Path, taken_port: int) -> None:
    (line,) = refused("up", data=tmp_path, http_port=taken_port)
    assert f"port {taken_port}" in line
    assert "HEADWATER_HTTP_PORT" in line


def test_a_door_by_itself_on_a_taken_port_says_so_in_one_line_and_never_that_it_serves(
    tmp_path: Path, taken_port: int
) -> None:
    own = {"kafka": "127.0.0.1:1", "database_url": "postgresql://nobody@127.0.0.1:1/nothing", "identity_key": "k" * 32}
    (line,) = refused("ingest", data=tmp_path, http_port=taken_port, **own)
    assert f"127.0.0.1:{taken_port}: Address already in use" in line
    assert "HEADWATER_HTTP_PORT" in line


@pytest.mark.parametrize(
    "setting, value", [("partitions", "many"), ("http_port", "99999"), ("nonsense", "1"), ("identity_key", "short")]
)
def test_a_wrong_setting_gets_one_clear_line_that_names_it(tmp_path: Path, setting: str, value: str) -> None:
    (line,) = refused("up", data=tmp_path, **{setting: value})
    assert "HEADWATER_" in line
    assert setting in line.lower()


def test_a_wrong_number_of_workers_gets_one_clear_line(tmp_path: Path) -> None:
    (line,) = refused("up", "--workers", "nobody=2", data=tmp_path)
    assert "there is no stage 'nobody'" in line


def test_a_missing_folder_of_definitions_gets_one_clear_line(tmp_path: Path) -> None:
    folder = tmp_path / "nowhere"
    (line,) = refused("up", "--definitions", str(folder), data=tmp_path / "data", http_port=usable_port(0))
    assert line == f"Error: {folder} is not a folder"


def test_a_database_url_that_cannot_be_read_gets_one_clear_line_without_its_password(
    tmp_path: Path,
) -> None:
    (line,) = refused("status", data=tmp_path, kafka="127.0.0.1:1", database_url="postgresql://u:hunter2%zz@h/db")
    assert "HEADWATER_DATABASE_URL" in line
    assert "hunter2" not in line


def test_a_data_folder_that_cannot_be_used_gets_one_clear_line_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = {"database_url": "postgresql://nobody@127.0.0.1:1/none", "kafka": "127.0.0.1:1"}
    (line,) = refused("up", data=tmp_path / "file", http_port=usable_port(0), **settings)
    assert line.startswith(f"Error: cannot use {tmp_path / 'file'}")


def test_services_that_cannot_be_reached_get_one_clear_line(tmp_path: Path) -> None:
    (line,) = refused("status", data=tmp_path)
    assert "nothing is running here" in line
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"postgresql://nobody@127.0.0.1:{closed.getsockname()[1]}/none"
        (line,) = refused("migrate", data=tmp_path, database_url=url, kafka="127.0.0.1:1")
    assert line.startswith("Error: PostgreSQL:")


def test_a_definition_that_is_wrong_is_refused_before_anything_is_applied(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("kind: source\nid: shop\nenabledd: true\n")
    settings = {"database_url": "postgresql://nobody@127.0.0.1:1/none", "kafka": "127.0.0.1:1"}
    (line,) = refused("apply", str(tmp_path), data=tmp_path, **settings)
    assert "bad.yaml: shop: enabledd" in line
