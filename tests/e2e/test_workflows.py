"""What workflows send out: events, messages to topics, calls of webhooks."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import MakeInstallation
from tests.kit.definitions import payload
from tests.kit.installation import Installation
from tests.kit.serving import Handler, Server
from tests.kit.waiting import until

STAGES = ("validate", "identify", "persist", "route", "run-workflows", "merge", "segment", "deliver", "record-failures")


class Receiver:
    """A webhook's other end: answers what the test says, and remembers every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any], int]] = []
        self.answer = 200
        self.refused: str | None = None
        receiver = self

        class Answering(Handler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                named = receiver.refused is not None and body["body"]["properties"].get("name") == receiver.refused
                status = 400 if named else receiver.answer
                receiver.calls.append((self.headers["idempotency-key"], body, status))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

        self._server = Server(Answering)

    @property
    def url(self) -> str:
        return f"{self._server.url}/hook"

    def taken(self) -> list[tuple[str, dict[str, Any]]]:
        return [(key, body) for key, body, status in list(self.calls) if status == 200]

    def close(self) -> None:
        self._server.close()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    yield started
    started.close()


DEFINITIONS = """
kind: source
id: shop
---
kind: rule
id: basket
event_type: basket-left
workflows: [remind]
---
kind: workflow
id: remind
nodes:
  start: {action: start, then: [emit, topic, hook]}
  emit: {action: emit-event, config: {type: Reminder Due, properties: {name: event.properties.name}}}
  topic: {action: send-to-destination, config: {destination: topic, properties: {name: event.properties.name}}}
  hook: {action: send-to-destination, config: {destination: hook, properties: {name: event.properties.name}}}
---
kind: rule
id: loop
event_type: around
workflows: [again]
---
kind: workflow
id: again
nodes:
  emit: {action: emit-event, config: {type: around}}
---
kind: destination
id: topic
condition: "false"
---
kind: destination
id: hook
type: webhook
url: URL
condition: "false"
timeout_s: 5
"""


@pytest.fixture(scope="module")
def shop(make_shared_installation: MakeInstallation, receiver: Receiver) -> Installation:
    installation = make_shared_installation(DEFINITIONS.replace("URL", receiver.url))
    installation.start(*STAGES, "dispatch-hook")
    return installation


def leave(shop: Installation, session: str, *names: str) -> None:
    bodies = [
        json.dumps(payload("shop", {"type": "basket-left", "id": name, "properties": {"name": name}}, session=session))
        for name in names
    ]
    shop.write_all([body.encode() for body in bodies], key=session.encode())


def test_an_emitted_event_arrives_once_as_an_event_of_its_own(shop: Installation) -> None:
    leave(shop, "emit", "emit-1", "emit-2", "emit-1")
    shop.wait_through()
    found = shop.sql(
        "select properties->>'name', source, session_id, hops from events where type = 'reminder-due' "
        "and session_id = 'emit' order by 1"
    )
    assert found == [("emit-1", "shop", "emit", 1), ("emit-2", "shop", "emit", 1)]
    owners = shop.one("select count(distinct profile_id) from events where session_id = 'emit'")
    assert owners == 1
    assert shop.require_balance()["shop"]["duplicates"] == 1


def test_what_is_sent_to_a_destination_arrives_in_its_topic_once_by_id(shop: Installation) -> None:
    leave(shop, "sent", "sent-1", "sent-2", "sent-3", "sent-1")
    shop.wait_through()
    found = {}
    for delivery in shop.bodies("destination-topic"):
        found.setdefault(delivery["id"], delivery)
    mine = [one for one in found.values() if one["body"]["properties"]["name"].startswith("sent")]
    assert [one["body"]["properties"] for one in mine] == [{"name": f"sent-{n}"} for n in (1, 2, 3)]
    profile = shop.one("select distinct profile_id::text from events where session_id = 'sent'")
    assert {(one["profile"], one["destination"]) for one in mine} == {(profile, "topic")}
    # Keyed by profile, so that a consumer sees them in order.
    keys = {message.key() for message in shop.records("destination-topic") if b"sent-" in message.value()}
    assert keys == {profile.encode()}


def test_a_webhook_gets_every_delivery_in_order_though_it_failed_for_a_while(
    shop: Installation, receiver: Receiver
) -> None:
    names = {session: [f"{session}-{n}" for n in range(5)] for session in ("hook-a", "hook-b", "hook-c")}
    receiver.answer = 500
    before = len(receiver.calls)
    for session, ours in names.items():
        leave(shop, session, *ours)
    until(lambda: len(receiver.calls) - before >= 5, 30, shop.tell)
    receiver.answer = 200
    shop.wait_through()
    calls = [(key, body["body"]["properties"]["name"], body) for key, body in receiver.taken()]
    for ours in names.values():
        firsts = list(dict.fromkeys(name for _, name, _ in calls if name in ours))
        assert firsts == ours
    keys: dict[str, set[str]] = {}
    for key, body, _ in receiver.calls:
        keys.setdefault(body["body"]["properties"]["name"], set()).add(key)
        assert body["id"] == key
    assert all(len(found) == 1 for found in keys.values()), keys
    assert len({min(found) for found in keys.values()}) == len(keys)


def test_a_delivery_that_is_refused_for_good_is_a_dead_letter_and_the_next_ones_go_on(
    shop: Installation, receiver: Receiver
) -> None:
    receiver.refused = "refused-2"
    leave(shop, "refused", "refused-1", "refused-2", "refused-3")
    shop.wait_through()
    taken = [body["body"]["properties"]["name"] for _, body in receiver.taken()]
    assert [name for name in dict.fromkeys(taken) if name.startswith("refused")] == ["refused-1", "refused-3"]
    ((topic, kind, reasons, content),) = shop.sql(
        "select topic, kind, reasons, content from failures where stage = 'dispatch-hook'"
    )
    assert (topic, kind, reasons[0]["code"]) == ("destination-hook", "dead-letter", "refused_by_destination")
    assert json.loads(bytes(content))["body"]["properties"] == {"name": "refused-2"}


def test_an_event_that_emits_itself_ends_after_ten_rounds(shop: Installation) -> None:
    shop.write(json.dumps(payload("shop", {"type": "around", "id": "first"}, session="loop")).encode(), key=b"loop")
    shop.wait_through()
    assert [hops for (hops,) in shop.sql("select hops from events where type = 'around' order by 1")] == list(range(11))
    last = shop.one(
        "select outcome from workflow_runs r join events e using (origin_partition, origin_offset, origin_ordinal) "
        "where e.type = 'around' and e.hops = 10"
    )
    assert "loop_detected" in json.dumps(last)


TRIGGERED = """
kind: source
id: shop
---
kind: segment
id: often
condition: profile.counters['page-view'] > 2
source: shop
---
kind: rule
id: often
event_type: segment-*
workflows: [note]
---
kind: workflow
id: note
nodes:
  note: {action: update-profile, config: {append: {been_in: event.properties.segment}}}
"""


def test_who_enters_a_segment_sets_off_a_workflow_once(shop: Installation) -> None:
    shop.apply(TRIGGERED)
    for _ in range(5):
        shop.write(json.dumps(payload("shop", {"type": "page-view"}, session="often")).encode(), b"often")
        shop.wait_through()
    told = shop.sql("select type, properties from events where type like 'segment-%'")
    assert told == [("segment-entered", {"segment": "often"})]
    assert shop.one("select traits->'been_in'->0 from profile_traits where traits ? 'been_in'") == ["often"]
