"""A stage's process on a real Kafka and PostgreSQL: what only a whole worker can show."""

import json
import subprocess
import sys
import uuid
from contextlib import suppress

import msgspec
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from schemas.profiles import MergeJob
from tests.conftest import MakeInstallation
from tests.kit.definitions import payload
from tests.kit.installation import Installation
from tests.kit.waiting import until

SOURCE = "kind: source\nid: shop\n"


@pytest.fixture
def shop(make_installation: MakeInstallation) -> Installation:
    return make_installation(SOURCE)


def send(shop: Installation, *ids: str) -> None:
    shop.write_all([json.dumps(payload("shop", {"type": "x", "id": id}, session=id)).encode() for id in ids])


def test_a_restarted_worker_goes_on_where_it_was_and_repeats_nothing(shop: Installation) -> None:
    shop.start("validate")
    send(shop, *(f"a{n}" for n in range(20)))
    shop.wait_through()
    shop.stop("validate")
    send(shop, *(f"b{n}" for n in range(20)))
    shop.start("validate")
    shop.wait_through()
    ids = [event["id"] for event in shop.bodies("events-valid")]
    assert {id for id in ids if id.startswith("b")} == {f"b{n}" for n in range(20)}
    # At most the last batch of each lane goes out again.
    assert set(ids) == {f"{letter}{n}" for letter in "ab" for n in range(20)}
    assert shop.one("select accepted from (select sum(accepted) as accepted from source_counts) s") == 40


def test_a_worker_that_was_killed_sends_a_stored_outbox_though_nothing_new_comes(shop: Installation) -> None:
    shop.start("validate")
    send(shop, "last")
    shop.wait_through()
    shop.kill("validate")
    before = sum(shop.ends(["events-valid"]).values())
    # The process cannot know whether the outputs of its last life arrived: they must go out again.
    shop.start("validate")
    until(lambda: "working" in shop.children["validate"].output(), 30, shop.tell)
    until(lambda: sum(shop.ends(["events-valid"]).values()) > before, 30, shop.tell)


def test_a_worker_that_cannot_read_a_new_definition_ends_as_one_that_failed(shop: Installation) -> None:
    shop.start("run-workflows")  # one that has more beside its lanes than definitions
    until(lambda: "working" in shop.children["run-workflows"].output(), 30, shop.tell)
    shop.write(
        b'{"revision": 99, "body": {"kind": "source", "id": 7}}', key=b"source/of-a-later-version", topic="config"
    )
    said, ended = shop.children["run-workflows"].output, shop.children["run-workflows"].wait(30)
    assert ended == 1, said()
    assert "the definitions cannot be read" in said()


def test_definitions_are_published_anew_where_their_topic_was_made_again(shop: Installation) -> None:
    shop.start("validate")
    until(lambda: "working" in shop.children["validate"].output(), 30, shop.tell)
    (folder,) = shop.folder.glob("definitions-*")
    shop.apply("kind: source\nid: given-up\n")
    assert shop.command("apply", str(folder), "--prune", "--yes").returncode == 0
    first = shop.records("config")[0]
    name, admin = f"{shop.prefix}config", AdminClient({"bootstrap.servers": shop.kafka, "log_level": 0})
    admin.delete_topics([name])[name].result(30)
    until(lambda: name not in admin.list_topics(timeout=10).topics)
    assert shop.command("topics").stdout == "created config\n"
    shop.write(first.value(), key=first.key(), topic="config")  # whoever published them then died
    assert shop.command("apply", str(folder)).stdout == "nothing to change\n"
    # Whoever waits for the last revision, a removal, must not wait for ever.
    latest = max(body["revision"] for body in shop.bodies("config"))
    assert latest == shop.one("select max(revision) from definitions")
    shop.apply("kind: source\nid: late\n")
    revision = shop.one("select max(revision) from definitions")
    # One that read the old topic, and one that never did.
    until(lambda: _takes(shop, "late"), 30, shop.tell)
    shop.kill("validate")
    shop.start("validate", name="another")
    until(lambda: _takes(shop, "shop"), 60, shop.tell)
    assert {event["source"] for event in shop.bodies("events-rejected")} <= {"late"}
    # A database that was restored: what it does not know is in force all the same.
    shop.one("delete from definitions where revision = %s returning 1", revision)
    (shop.folder / "more").mkdir()
    (shop.folder / "more" / "all.yaml").write_text("kind: source\nid: more\n")
    refused = shop.command("apply", str(shop.folder / "more"), "--yes")
    assert refused.returncode == 1 and "headwater recover" in refused.stderr


def run_to_its_end(script: str, shop: Installation) -> subprocess.CompletedProcess[str]:
    """A worker in a process of its own, with something of it replaced."""
    return subprocess.run(
        [sys.executable, "-c", script], env=shop.variables(), capture_output=True, text=True, timeout=60
    )


#: A worker whose step is cancelled by nobody of ours, as a library's time-out may do it.
CANCELLED = """
import asyncio
from processors.runner.attempt import Attempt
async def run(*_):
    raise asyncio.CancelledError
Attempt.run = run
from deploy.cli import main
main(["worker", "validate"])
"""


def test_a_worker_whose_step_is_cancelled_from_inside_says_so_and_ends(shop: Installation) -> None:
    send(shop, "a")
    done = run_to_its_end(CANCELLED, shop)
    assert done.returncode == 1
    assert "this process cannot go on" in done.stderr + done.stdout


#: A worker that says of what type its records are.
LEAN = """
import os
from processors.runner.attempt import Attempt
async def run(self, connection, records, start_over):
    print({type(record).__name__ for record in records}, flush=True)
    os._exit(0)
Attempt.run = run
from deploy.cli import main
main(["worker", "validate"])
"""


def test_a_worker_gets_lean_records(shop: Installation) -> None:
    """That aiokafka's own cost more shows nowhere but in the bench."""
    send(shop, "a")
    done = run_to_its_end(LEAN, shop)
    assert done.stdout.splitlines()[-1:] == ["{'Fetched'}"]


#: A worker that ends with 3 where two of its lanes, each by itself, join profiles at a time; else as all are through.
TURNS = """
import asyncio, os
from processors.runner.attempt import Attempt
from processors.runner.together import Together
from processors.storage.merges import Merges
at_work = begun = through = 0
attempt = Attempt.run
async def run(self, *args):
    global begun
    begun += 1
    return await attempt(self, *args)
async def lock(self, ids, definitions):
    global at_work, through
    at_work += 1
    while begun < 2:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    if at_work > 1:
        os._exit(3)
    at_work -= 1
    through += len(ids)
    if through == 40:
        os._exit(0)
    return {}
async def process(self, lane, batch, size):
    await lane.process(batch)
Attempt.run, Merges.lock, Together.process = run, lock, process
from deploy.cli import main
main(["worker", "merge"])
"""


def test_lanes_of_merge_which_would_wait_for_each_others_locks_join_one_at_a_time(shop: Installation) -> None:
    for number in range(20):
        job = MergeJob(profiles=[str(uuid.uuid4()), str(uuid.uuid4())], cause="workflow", namespace="n", event="e")
        shop.write(msgspec.json.encode(job), key=str(number).encode(), topic="merge-jobs")
    assert run_to_its_end(TURNS, shop).returncode == 0


#: A worker that is told to stop, and then, that Kafka shares the partitions out anew.
STOPPED_AMID_A_REBALANCE = """
import asyncio, os, signal
from aiokafka.client import AIOKafkaClient
from processors.runner.stage_app import StageApp
close, stop, assigned = AIOKafkaClient.close, StageApp.stop, StageApp._on_partitions_assigned
async def closing(self):
    if self._loop is not asyncio.get_running_loop():
        os._exit(3)
    await close(self)
async def stopping(self):
    self._on_rebalance_when_stopped()
    await stop(self)
async def begun(self, *args):
    await assigned(self, *args)
    os.kill(os.getpid(), signal.SIGTERM)
AIOKafkaClient.close, StageApp.stop, StageApp._on_partitions_assigned = closing, stopping, begun
from deploy.cli import main
main(["worker", "validate"])
"""


def test_a_worker_that_stops_amid_a_rebalance_closes_its_connections_where_they_are_used(shop: Installation) -> None:
    """From any other thread that crashes a worker now and then, or leaves it half alive."""
    assert run_to_its_end(STOPPED_AMID_A_REBALANCE, shop).returncode == 0


#: A worker that is told to stop, and whose consumer's thread does not end.
HANGING = """
import asyncio, os, signal
from processors.runner.consumer_thread import ConsumerThread
from processors.runner.stage_app import StageApp
assigned = StageApp._on_partitions_assigned
async def hanging(self):
    await asyncio.Event().wait()
async def begun(self, *args):
    await assigned(self, *args)
    os.kill(os.getpid(), signal.SIGTERM)
ConsumerThread._gather_remaining_tasks, StageApp._on_partitions_assigned = hanging, begun
from deploy.cli import main
main(["worker", "validate"])
"""


def test_a_worker_ends_though_its_consumers_thread_does_not(shop: Installation) -> None:
    assert run_to_its_end(HANGING, shop).returncode == 0


#: What of aiokafka may end, or wait for somebody to ask, while nobody is told.
BREAKS = {
    "the state of the cluster": "AIOKafkaClient._md_synchronizer",
    "what fetches": "Fetcher._fetch_requests_routine",
    "UnknownError": "GroupCoordinator._do_rejoin_group",
}
BROKEN = """
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.errors import UnknownError
async def breaks(*_):
    raise UnknownError
%s = breaks
from deploy.cli import main
main(["worker", "validate"])
"""


@pytest.mark.parametrize("said", BREAKS)
def test_a_worker_whose_client_works_no_more_says_so_and_ends(shop: Installation, said: str) -> None:
    done = run_to_its_end(BROKEN % BREAKS[said], shop)
    assert done.returncode == 1
    assert said in done.stderr + done.stdout


#: A worker that has fetched nothing for a day, as aiokafka counts it.
IDLE = """
from aiokafka.consumer.subscription_state import SubscriptionState
SubscriptionState.fetcher_idle_time = property(lambda self: 86_400.0)
from deploy.cli import main
main(["worker", "validate"])
"""


def test_a_worker_that_had_nothing_to_fetch_for_a_day_is_still_there_when_it_is_needed(shop: Installation) -> None:
    idle, variables = [sys.executable, "-c", IDLE], shop.variables()
    with subprocess.Popen(idle, env=variables) as first, subprocess.Popen(idle, env=variables) as second:
        try:
            until(lambda: _members(shop) == 2, 60)
            send(shop, *(f"a{n}" for n in range(20)))
            shop.wait_through(stages=["validate"])
            first.kill()
            send(shop, *(f"b{n}" for n in range(20)))
            shop.wait_through(stages=["validate"])
        finally:
            for process in (first, second):
                process.kill()


def _members(shop: Installation) -> int:
    """Workers of validate that have partitions, as Kafka knows them."""
    group, admin = f"{shop.prefix}validate", AdminClient({"bootstrap.servers": shop.kafka, "log_level": 0})
    with suppress(KafkaException):  # nobody has asked this Kafka for a group before
        members = admin.describe_consumer_groups([group])[group].result(10).members
        return sum(bool(one.assignment and one.assignment.topic_partitions) for one in members)
    return 0


def _takes(shop: Installation, source: str) -> bool:
    """Whether a payload of this source that is written now becomes a valid event."""
    id = uuid.uuid4().hex
    shop.write(json.dumps(payload(source, {"type": "x", "id": id}, session=id)).encode())
    shop.wait_through(stages=["validate"])
    return any(event["id"] == id for event in shop.bodies("events-valid"))
