"""Bridges: records of other topics become events, each once, whatever dies and whatever else lies there."""

import json
from collections import Counter
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.conftest import MakeInstallation
from tests.kit.installation import RECORDING, Installation
from tests.kit.waiting import until

RECORDS, PARTITIONS = 2_000, 3
#: No JSON, each with what its dead letter says.
BAD: tuple[tuple[bytes | None, str], ...] = (
    (b"\x00\x00\x00\x00\x07avro", "invalid_json"),
    (b'{"order": {"n": ', "invalid_json"),
    (b'{"order": {"n": "\xff"}}', "invalid_json"),
    (None, "null_value"),
    (b"", "empty_value"),
)


def definitions(orders: str, others: str, enabled: bool = True) -> str:
    return f"""
{{kind: source, id: shop, bridges: [bridge]}}
---
{{kind: source, id: others, bridges: [http, kafka]}}
---
kind: bridge
id: legacy
topic: {orders}
source: shop
event_type: Order Imported
enabled: {str(enabled).lower()}
paths: {{session: key, properties: value.order, context: value.meta, timestamp: value.at}}
---
{{kind: bridge, id: others, topic: {others}, source: others, paths: {{type: value.kind, event_id: value.id}}}}
"""


def value(n: int) -> bytes | None:
    """Of a hundred records five are no JSON, and five no order."""
    if n % 20 == 7:
        return BAD[n // 20 % len(BAD)][0]
    if n % 20 == 13:
        return json.dumps([n]).encode()
    return json.dumps({"order": {"n": n, "of": "ü"}, "at": 1_750_000_000 + n, "meta": {"from": n}}).encode()


def place(n: int) -> tuple[int, int]:
    """Partition and offset of an order: they are written in turn, each after the one before it."""
    return n % PARTITIONS, n // PARTITIONS


class Topics:
    """Two topics of others, and what lies in the first."""

    def __init__(self, installation: Installation) -> None:
        self.installation = installation
        self.orders, self.others = (f"legacy_{installation.prefix}{name}.v1" for name in ("orders", "others"))
        admin = AdminClient({"bootstrap.servers": installation.kafka, "log_level": 0})
        topics = [NewTopic(name, num_partitions=PARTITIONS) for name in (self.orders, self.others)]
        for future in admin.create_topics(topics).values():
            future.result(20)
        self._producer = Producer({"bootstrap.servers": installation.kafka, "enable.idempotence": True, "log_level": 0})
        #: Orders that were written, numbered from 0.
        self.count = 0

    def write_orders(self, count: int) -> None:
        """Write so many more of them."""
        for n in range(self.count, self.count + count):
            self._producer.produce(self.orders, value(n), f"visit-{n % 10}", n % PARTITIONS, headers={"n": str(n)})
        assert self._producer.flush(30) == 0
        self.count += count

    def write_others(self, values: list[dict[str, Any]]) -> None:
        for n, body in enumerate(values):
            self._producer.produce(self.others, json.dumps(body), partition=n % PARTITIONS)
        assert self._producer.flush(30) == 0

    def id(self, n: int) -> str:
        """The id of an order that brings none: its place."""
        partition, offset = place(n)
        return f"{self.orders}-{partition}-{offset}"


@pytest.fixture(scope="module")
def topics(make_shared_installation: MakeInstallation) -> Topics:
    installation = make_shared_installation(forked=True, session_timeout_s=2)
    found = Topics(installation)
    installation.apply(definitions(found.orders, found.others))
    installation.start(*RECORDING)
    found.write_orders(RECORDS // 2)
    return found


def stage(installation: Installation, name: str) -> dict[str, Any]:
    """What `headwater status` says of a bridge."""
    (found,) = [one for one in installation.json("status")["stages"] if one["stage"] == f"bridge-{name}"]
    return dict(found)


def wait_for(installation: Installation, source: str, ids: int) -> None:
    """Until so many ids of a source have an outcome, and nothing is under way."""
    query = (
        "select count(distinct id) from (select source, id from events union all "
        "select source, event_id from failures) outcomes where source = %s"
    )
    until(lambda: installation.one(query, source) == ids, 60, installation.tell)
    installation.wait_through(stages=RECORDING)


def require_exact(topics: Topics) -> None:
    """Of the orders each is one event, one rejected event or one dead letter, and nothing else is there."""
    installation, numbers = topics.installation, range(topics.count)
    query = (
        "select id, type, session_id, (properties->>'n')::int, extract(epoch from occurred_at)::int, context->'from' "
        "from events where source = 'shop'"
    )
    assert Counter(installation.sql(query)) == Counter(
        (topics.id(n), "order-imported", f"visit-{n % 10}", n, 1_750_000_000 + n, n)
        for n in numbers
        if n % 20 not in (7, 13)
    )
    query = "select distinct event_id, reasons->0->>'code' from failures where kind = 'rejected' and source = 'shop'"
    assert set(installation.sql(query)) == {(topics.id(n), "invalid_properties") for n in numbers if n % 20 == 13}
    query = (
        "select partition, \"offset\", reasons->0->>'code', content from failures "
        "where kind = 'dead-letter' and stage = 'bridge-legacy'"
    )
    bad = {n: BAD[n // 20 % len(BAD)] for n in numbers if n % 20 == 7}
    assert Counter((*at, code, bytes(content)) for *at, code, content in installation.sql(query)) == Counter(
        (*place(n), code, content or b"") for n, (content, code) in bad.items()
    )


def kill_where_it_stopped(installation: Installation, name: str) -> None:
    until(lambda: installation.children[name].frozen, 30, installation.tell)
    installation.kill(name)


def test_status_shows_what_waits_before_a_bridge_that_does_not_run(topics: Topics) -> None:
    before = stage(topics.installation, "legacy")
    assert (before["lag"], before["processed"]) == (RECORDS // 2, 0)
    assert before["oldest_s"] > 0


def test_each_record_is_an_event_once_though_the_bridge_is_killed_twice_while_it_works(topics: Topics) -> None:
    installation = topics.installation
    # Once when a position is stored and nothing of it written, once when it is written and that is not known yet.
    for name, point in (("first", "after-commit:1:stop"), ("second", "after-produce:1:stop")):
        installation.start("bridge-legacy", name=name, HEADWATER_FAILPOINT=point)
        kill_where_it_stopped(installation, name)
        topics.write_orders(RECORDS // 4)
    installation._start("bridge-legacy", ["bridge", "kafka", "legacy"])
    wait_for(installation, "shop", RECORDS - RECORDS // 20)
    require_exact(topics)
    after = stage(installation, "legacy")
    assert (after["lag"], after["processed"], after["dead_letters"]) == (0, RECORDS, RECORDS // 20)


def test_dead_letters_of_a_bridge_are_not_sent_again(topics: Topics) -> None:
    done = topics.installation.json("dead-letters", "replay", "--stage", "bridge-legacy", "--reason", "null_value")
    assert (done["sent"], len(done["refused"])) == (0, RECORDS // 100)
    assert all(topics.orders in at and "its topic is not ours" in why for at, why in done["refused"].items())


def test_a_bridge_that_was_off_goes_on_where_it_was(topics: Topics) -> None:
    installation = topics.installation
    installation.apply(definitions(topics.orders, topics.others, enabled=False))
    retries = "select 1 from lane_health where stage = 'bridge-legacy' and retries ? 'bridge_off'"

    def is_off() -> bool:
        topics.write_orders(PARTITIONS)  # until it hears of it, it goes on
        return bool(installation.sql(retries))

    until(is_off, 30, installation.tell)
    reached = "select partition, next_offset from stage_progress where stage = 'bridge-legacy' order by 1"
    before = installation.sql(reached)
    topics.write_orders(300)
    installation.wait_through(stages=RECORDING)
    assert installation.sql(reached) == before
    installation.apply(definitions(topics.orders, topics.others))
    wait_for(installation, "shop", sum(n % 20 != 7 for n in range(topics.count)))
    require_exact(topics)


def test_what_comes_by_a_bridge_that_its_source_does_not_allow_is_rejected(topics: Topics) -> None:
    installation = topics.installation
    topics.write_others([{"kind": "Stock Moved", "id": n} for n in range(20)])
    installation.start("bridge-others")
    wait_for(installation, "others", 20)
    query = "select event_id, type, reasons->0->>'code' from failures where source = 'others' order by event_id::int"
    assert installation.sql(query) == [(str(n), "stock-moved", "bridge_not_allowed") for n in range(20)]
    assert installation.one("select count(*) from events where source = 'others'") == 0


def test_a_record_that_is_written_again_with_the_same_id_is_a_duplicate(topics: Topics) -> None:
    installation = topics.installation
    installation.apply("{kind: source, id: others, bridges: [bridge]}")

    def is_let_in() -> bool:
        topics.write_others([{"kind": "probe"}])  # until validate hears of it, they are rejected
        return bool(installation.sql("select 1 from events where type = 'probe'"))

    until(is_let_in, 30, installation.tell)
    for _ in range(2):
        topics.write_others([{"kind": "moved", "id": f"again-{n}"} for n in range(20)])
    events = "select id, reused_id from events where type = 'moved'"
    duplicates = "select id from event_duplicates where source = 'others' and id like 'again-%'"
    until(lambda: len(installation.sql(events)) + len(installation.sql(duplicates)) == 40, 30, installation.tell)
    assert Counter(installation.sql(events)) == Counter((f"again-{n}", None) for n in range(20))


def test_what_was_written_in_a_transaction_that_was_aborted_never_arrives(topics: Topics) -> None:
    installation = topics.installation
    settings = {"bootstrap.servers": installation.kafka, "transactional.id": f"{topics.others}-writer", "log_level": 0}
    producer = Producer(settings)
    producer.init_transactions(30)
    for name, ends in (("gone", producer.abort_transaction), ("kept", producer.commit_transaction)):
        producer.begin_transaction()
        for n in range(20):
            body = json.dumps({"kind": "in-transaction", "id": f"{name}-{n}"})
            producer.produce(topics.others, body, partition=n % PARTITIONS)
        ends(30)
    query = "select id from events where source = 'others' and type = 'in-transaction'"
    until(lambda: len(installation.sql(query)) >= 20, 60, installation.tell)
    assert Counter(id for (id,) in installation.sql(query)) == Counter(f"kept-{n}" for n in range(20))


def test_in_the_end_all_of_it_is_there_once(topics: Topics) -> None:
    topics.installation.wait_through(stages=RECORDING)
    require_exact(topics)
