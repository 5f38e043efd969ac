"""Destinations of every type, called for real: signed, in batches, on chosen changes, paused, sent again, given up."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from standardwebhooks.webhooks import Webhook

from tests.conftest import MakeInstallation
from tests.kit.definitions import payload
from tests.kit.installation import Installation
from tests.kit.services import Services
from tests.kit.serving import Handler, Server
from tests.kit.waiting import until

pytestmark = pytest.mark.timeout(200)

HOOKS = ("signed", "batched", "chosen", "events", "given-up", "agreed")
STAGES = ("validate", "identify", "persist", "route", "run-workflows", "merge", "segment", "deliver", "record-failures")
OLD, NEW = ("whsec_" + base64.b64encode(seed * 32).decode() for seed in (b"a", b"b"))


class Receiver:
    """Answers what the test says for each path, and remembers what it was sent."""

    def __init__(self) -> None:
        #: Path, headers, body.
        self.calls: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: dict[str, int] = {}
        receiver = self

        class Answering(Handler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receiver.answers.get(self.path, 200)
                receiver.calls.append((self.path, dict(self.headers.items()), body))
                self.send_response(status)
                self.send_header("content-length", "0")
                self.end_headers()

        self._server = Server(Answering)
        self.url = self._server.url

    def of(self, path: str) -> list[tuple[dict[str, str], Any]]:
        return [(headers, json.loads(body)) for at, headers, body in list(self.calls) if at == path]

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
kind: mapping
id: visits
event_type: visit
increment: {visits: "1"}
set: {city: event.properties.city}
---
kind: identification-point
id: login
event_type: login
identifiers: [{namespace: user, property: user}]
---
{kind: destination, id: signed, type: webhook, url: URL/signed, signing: [NEW, OLD]}
---
{kind: destination, id: batched, type: webhook, url: URL/batched, batch: 50, coalesce: true}
---
{kind: destination, id: chosen, type: webhook, url: URL/chosen, on_change: [traits.city]}
---
kind: destination
id: events
type: webhook
url: URL/events
events: [order-*]
condition: event.properties.total > 10.0
mapping: {order: event.id, total: event.properties.total}
---
{kind: destination, id: orders, events: [order-*]}
---
{kind: destination, id: given-up, type: webhook, url: URL/given-up, give_up_after_s: 1}
---
{kind: consent, id: marketing}
---
kind: destination
id: agreed
type: webhook
url: URL/agreed
consents: [marketing]
mapping: {city: profile.traits.city}
---
{kind: resource, id: warehouse, type: postgresql, production: {dsn: DSN}}
---
kind: destination
id: bought
type: postgresql
events: [order-*]
table: {resource: warehouse, name: bought, key: id, person: person}
mapping: {total: event.properties.total}
---
kind: destination
id: people
type: postgresql
table: {resource: warehouse, name: public.people, key: person}
mapping: {city: profile.traits.city, visits: profile.totals.visits, segments: profile.segments}
"""


@pytest.fixture(scope="module")
def warehouse(services: Services) -> str:
    url = services.new_database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table bought (id uuid primary key, version bigint, person uuid, total numeric)")
        connection.execute(
            "create table people (person uuid primary key, version bigint, city text, visits numeric, segments text[])"
        )
    return url


@pytest.fixture(scope="module")
def shop(make_shared_installation: MakeInstallation, receiver: Receiver, warehouse: str) -> Installation:
    definitions = DEFINITIONS.replace("URL", receiver.url).replace("NEW", NEW).replace("OLD", OLD)
    installation = make_shared_installation(definitions.replace("DSN", warehouse), forked=True)
    installation.start(*STAGES, *(f"dispatch-{hook}" for hook in (*HOOKS, "people", "bought")))
    return installation


def send(shop: Installation, session: str, *types: str, **properties: Any) -> None:
    events = [{"type": type, "properties": properties} for type in types]
    shop.write(json.dumps(payload("shop", *events, session=session)).encode(), key=session.encode())


def person(shop: Installation, session: str) -> str:
    return str(
        shop.one(
            "select coalesce(p.merged_into, p.id)::text from sessions s join profiles p on p.id = s.profile_id "
            "where s.id = %s",
            session,
        )
    )


def rows(warehouse: str) -> dict[str, tuple[Any, ...]]:
    with psycopg.connect(warehouse, autocommit=True) as connection:
        found = connection.execute("select person::text, city, visits, segments from people").fetchall()
    return {person: tuple(row) for person, *row in found}


def test_calls_are_signed_as_the_standard_says_by_the_new_secret_and_the_old_one(
    shop: Installation, receiver: Receiver
) -> None:
    send(shop, "signed", "visit", city="Oslo")
    shop.wait_through()
    calls = [(headers, body) for path, headers, body in receiver.calls if path == "/signed"]
    assert calls
    for headers, body in calls:
        for secret in (OLD, NEW):
            Webhook(secret).verify(body, headers)  # raises where it does not hold
        assert headers["webhook-id"] == headers["idempotency-key"] == json.loads(body)["id"]


def test_changes_wait_for_a_batch_and_of_each_profile_only_the_latest_goes(
    shop: Installation, receiver: Receiver
) -> None:
    sessions = [f"batched-{number}" for number in range(20)]
    receiver.answers["/batched"] = 503
    for _ in range(5):
        for session in sessions:
            send(shop, session, "visit", city="Oslo")
        shop.wait_through(stages=STAGES)
    receiver.answers["/batched"] = 200
    shop.wait_through()
    people = {person(shop, session) for session in sessions}
    bodies = [one for _, body in receiver.of("/batched") for one in body if one["profile"] in people]
    last = {one["profile"]: one for one in bodies}
    assert {profile: one["body"]["totals"]["visits"] for profile, one in last.items()} == dict.fromkeys(people, 5)
    requests = [body for _, body in receiver.of("/batched") if any(one["profile"] in people for one in body)]
    assert max(map(len, requests)) > 5


def test_only_changes_of_the_chosen_field_are_sent(shop: Installation, receiver: Receiver) -> None:
    send(shop, "chosen", "visit", city="Bergen")
    shop.wait_through()
    send(shop, "chosen", "look")
    send(shop, "chosen", "visit", city="Bergen")
    shop.wait_through()
    send(shop, "chosen", "visit", city="Tromso")
    shop.wait_through()
    mine = [body["body"] for _, body in receiver.of("/chosen") if body["profile"] == person(shop, "chosen")]
    assert [body["traits"]["city"] for body in mine] == ["Bergen", "Tromso"]


def test_events_of_chosen_types_go_to_a_topic_and_to_a_webhook(shop: Installation, receiver: Receiver) -> None:
    send(shop, "buyer", "order-placed", "visit", "order-paid", total=20.0, city="Oslo")
    send(shop, "buyer", "order-placed", total=5.0)
    shop.wait_through()
    orders = [one["body"] for one in shop.bodies("destination-orders") if one["profile"] == person(shop, "buyer")]
    assert [(one["type"], one["properties"]["total"]) for one in orders] == [
        *(("order-placed", 20.0), ("order-paid", 20.0), ("order-placed", 5.0)),
    ]
    assert {one["cause"] for one in shop.bodies("destination-orders")} == {"event"}
    posted = [body["body"] for _, body in receiver.of("/events") if body["profile"] == person(shop, "buyer")]
    assert posted == [{"order": one["id"], "total": 20.0} for one in orders[:2]]


def test_a_table_has_a_row_of_the_latest_version_of_everybody_who_is_there(shop: Installation, warehouse: str) -> None:
    send(shop, "first", "visit", city="Oslo")
    shop.wait_through()
    send(shop, "second", "visit", city="Bergen")  # later by a millisecond at least: nobody says when it was
    shop.wait_through()
    known = rows(warehouse)
    assert known[person(shop, "first")] == ("Oslo", 1, [])
    gone = {person(shop, "first"), person(shop, "second")}
    send(shop, "first", "login", user="ann")
    send(shop, "second", "login", user="ann")
    shop.wait_through()
    alive = person(shop, "first")
    assert rows(warehouse)[alive][:2] == ("Bergen", 2)
    assert gone & rows(warehouse).keys() == {alive}
    send(shop, "first", "order-placed", total=20.0)
    send(shop, "somebody", "order-placed", total=30.0)
    shop.wait_through()
    assert {20, 30} <= set(bought(warehouse))
    done = shop.command("erase", alive, "--yes")
    assert done.returncode == 0, done.stderr
    shop.wait_through()
    assert alive not in rows(warehouse)
    assert person(shop, "somebody") in bought(warehouse).values()
    assert alive not in bought(warehouse).values()


def bought(warehouse: str) -> dict[Any, str]:
    """Total to whose it is, of the table of events."""
    with psycopg.connect(warehouse, autocommit=True) as connection:
        return dict(connection.execute("select total, person::text from bought").fetchall())


def status(shop: Installation, id: str) -> dict[str, Any]:
    return next(one for one in shop.json("destination", "status") if one["id"] == id)


def test_a_destination_that_is_paused_waits_and_what_it_had_is_sent_again_to_where_it_is_now(
    shop: Installation, receiver: Receiver
) -> None:
    def mine(path: str = "/chosen") -> list[dict[str, str]]:
        return [headers for headers, body in receiver.of(path) if body["profile"] == person(shop, "paused")]

    def is_held() -> bool:
        return "destination removed, paused or off" in shop.children["dispatch-chosen"].output()

    send(shop, "paused", "visit", city="Oslo")
    shop.wait_through()
    (first,) = mine()
    assert shop.command("destination", "pause", "chosen").stdout == "chosen is paused\n"
    sent = 1
    while not is_held():  # what comes before the dispatcher has heard of it still goes out
        send(shop, "paused", "visit", city=f"city {sent}")
        until(lambda gone=sent: len(mine()) > gone or is_held(), 30, shop.tell)
        sent += 1
    shop.wait_through(stages=STAGES)
    assert len(mine()) == sent - 1
    assert [status(shop, "chosen")[name] for name in ("state", "waiting")] == ["paused", 1]
    assert shop.command("destination", "resume", "chosen").stdout == "chosen goes on\n"
    shop.wait_through()
    assert len(mine()) == sent
    shop.apply(f"{{kind: destination, id: chosen, type: webhook, url: {receiver.url}/moved, on_change: [traits.city]}}")
    again = shop.command("destination", "replay", "chosen", "--since", "1h", "--yes")
    assert again.returncode == 0, again.stderr
    shop.wait_through()
    keys = [headers["idempotency-key"] for headers in mine()]
    assert len(keys) == sent
    assert keys == [headers["idempotency-key"] for headers in mine("/moved")]
    assert keys[0] == first["idempotency-key"]


def test_what_is_sent_again_has_nothing_of_who_withdrew_consent_or_was_erased_since(
    shop: Installation, receiver: Receiver
) -> None:
    for name in ("stays", "withdraws", "is-erased"):
        send(shop, name, "consent-update", consents={"marketing": True})
        shop.wait_through()
        send(shop, name, "visit", city=f"of who {name}")
    shop.wait_through()
    gone = person(shop, "is-erased")
    send(shop, "withdraws", "consent-update", consents={"marketing": False})
    erased = shop.command("erase", gone, "--yes")
    assert erased.returncode == 0, erased.stderr
    shop.wait_through()
    assert {"of who stays", "of who withdraws", "of who is-erased"} <= {
        body["body"].get("city") for _, body in receiver.of("/agreed")
    }
    sent = len(receiver.of("/agreed"))
    again = shop.command("destination", "replay", "agreed", "--since", "1h", "--yes")
    assert "left out, of people who were erased or have withdrawn their consent" in again.stdout, again.stderr
    shop.wait_through()
    bodies = [body for _, body in receiver.of("/agreed")[sent:]]
    assert {body["body"].get("city") for body in bodies} & {
        "of who stays",
        "of who withdraws",
        "of who is-erased",
    } == {"of who stays"}
    assert person(shop, "withdraws") not in {body["profile"] for body in bodies}
    assert [body["body"].get("erased") for body in bodies if body["profile"] == gone] == [True]


def test_a_delivery_is_given_up_as_its_destination_says_and_others_do_not_wait_for_it(
    shop: Installation, receiver: Receiver
) -> None:
    receiver.answers["/given-up"] = 500
    send(shop, "given-up", "visit", city="Oslo")
    shop.wait_through(90)
    mine = person(shop, "given-up")
    found = shop.sql("select reasons, content from failures where stage = 'dispatch-given-up'")
    assert mine in {json.loads(bytes(content))["profile"] for _, content in found}
    assert {reasons[0]["code"] for reasons, _ in found} == {"destination_gave_up"}
    assert [body for _, body in receiver.of("/signed") if body["profile"] == mine]
    receiver.answers["/given-up"] = 200
    assert shop.command("dead-letters", "replay", "--stage", "dispatch-given-up").returncode == 0
    shop.wait_through()
    taken = [body for _, body in receiver.of("/given-up")[-len(found) :]]
    assert mine in {body["profile"] for body in taken}
