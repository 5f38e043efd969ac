"""Destinations that are topics: of the pipeline's Kafka and of another, as JSON and as Avro."""

import io
import json
from collections.abc import Iterator
from typing import Any

import avro.io  # type: ignore[import-untyped]
import avro.schema  # type: ignore[import-untyped]
import pytest
from confluent_kafka import Message
from confluent_kafka.admin import AdminClient, NewTopic

from tests.conftest import MakeInstallation
from tests.kit.definitions import payload
from tests.kit.installation import Installation
from tests.kit.registry import Registry
from tests.kit.services import Services
from tests.kit.waiting import until

pytestmark = pytest.mark.timeout(200)

STAGES = ("validate", "identify", "persist", "route", "run-workflows", "merge", "segment", "deliver", "record-failures")
PERSON = {
    "type": "record",
    "name": "Person",
    "fields": [
        {"name": "city", "type": ["null", "string"]},
        {"name": "visits", "type": ["null", "double"]},
        {"name": "segments", "type": {"type": "array", "items": "string"}},
    ],
}
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
kind: segment
id: regular
condition: profile.totals.visits > 1.0
---
{kind: resource, id: theirs, type: kafka, production: {servers: "SERVERS", settings: {security.protocol: plaintext}}}
---
kind: resource
id: registry
type: http
production: {url: "REGISTRY", headers: {authorization: Basic abc}}
---
kind: destination
id: crm
type: kafka
topic: {name: PREFIXcrm, headers: {city: where.city}}
mapping: {where: profile.traits, entered: change.entered}
---
kind: destination
id: lake
type: kafka
topic:
  name: PREFIXlake
  resource: theirs
  key: city
  avro: {registry: registry, schema: SCHEMA}
mapping: {city: profile.traits.city, visits: profile.totals.visits, segments: profile.segments}
"""

LATE = """
kind: destination
id: late
type: kafka
timeout_s: 1
topic: {name: PREFIXlate}
mapping: {where: profile.traits}
"""


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    started = Registry()
    yield started
    started.close()


@pytest.fixture(scope="module")
def shop(make_shared_installation: MakeInstallation, services: Services, registry: Registry) -> Installation:
    installation = make_shared_installation("kind: source\nid: shop\n", forked=True)
    admin = AdminClient({"bootstrap.servers": services.kafka.address})
    topics = [NewTopic(installation.prefix + name, 2, 1) for name in ("crm", "lake")]
    for made in admin.create_topics(topics).values():
        made.result(30)
    definitions = DEFINITIONS.replace("SERVERS", services.kafka.address).replace("REGISTRY", registry.url)
    installation.apply(definitions.replace("PREFIX", installation.prefix).replace("SCHEMA", json.dumps(PERSON)))
    installation.start(*STAGES, "dispatch-crm", "dispatch-lake")
    return installation


def send(shop: Installation, session: str, *types: str, **properties: Any) -> None:
    events = [{"type": type, "properties": properties} for type in types]
    shop.write(json.dumps(payload("shop", *events, session=session)).encode(), key=session.encode())


def person(shop: Installation, session: str) -> str:
    return str(shop.one("select profile_id::text from sessions where id = %s", session))


def headers(record: Message) -> dict[str, str]:
    return {name: str(value, "utf-8") for name, value in record.headers() or []}


def of(shop: Installation, topic: str, profile: str) -> list[Message]:
    return [record for record in shop.records(topic) if headers(record)["headwater-profile"] == profile]


def decoded(record: Message, registry: Registry) -> Any:
    """The value, by Apache's own reader and the schema that the registry has under its id."""
    value = record.value()
    assert value[:1] == b"\0"
    schema = avro.schema.parse(registry.schemas[int.from_bytes(value[1:5], "big") - 1])
    return avro.io.DatumReader(schema).read(avro.io.BinaryDecoder(io.BytesIO(value[5:])))


def test_changes_are_records_under_the_profiles_id_with_the_fields_that_were_asked_for(shop: Installation) -> None:
    send(shop, "one", "visit", city="Oslo")
    shop.wait_through()
    send(shop, "one", "visit", city="Bergen")
    shop.wait_through()
    mine = of(shop, "crm", person(shop, "one"))
    assert [record.key().decode() for record in mine] == [person(shop, "one")] * len(mine)
    bodies = [json.loads(record.value()) for record in mine]
    assert [body["where"]["city"] for body in bodies] == ["Oslo", "Bergen"]
    assert [body["entered"] for body in bodies] == [[], ["regular"]]
    assert [headers(record)["city"] for record in mine] == ["Oslo", "Bergen"]
    sent = {record["id"] for record in shop.bodies("destination-crm")}
    assert {headers(record)["headwater-delivery"] for record in mine} <= sent
    versions = [int(headers(record)["headwater-version"]) for record in mine]
    assert versions == sorted(set(versions))


def test_avro_on_another_kafka_is_what_apaches_reader_reads(shop: Installation, registry: Registry) -> None:
    send(shop, "two", "visit", city="Tromsø")
    send(shop, "two", "visit", city="Tromsø")
    shop.wait_through()
    mine = of(shop, "lake", person(shop, "two"))
    assert decoded(mine[-1], registry) == {"city": "Tromsø", "visits": 2.0, "segments": ["regular"]}
    assert mine[-1].key().decode() == "Tromsø"
    assert registry.subjects == [f"/subjects/{shop.prefix}lake-value/versions"]  # asked once
    assert registry.authorization == ["Basic abc"]


def test_without_the_field_that_is_the_key_a_record_has_the_profiles_id(shop: Installation, registry: Registry) -> None:
    send(shop, "six", "look")
    shop.wait_through()
    (mine,) = of(shop, "lake", person(shop, "six"))
    assert mine.key().decode() == person(shop, "six")
    assert decoded(mine, registry) == {"city": None, "visits": None, "segments": []}


def test_what_is_not_of_the_schema_is_a_dead_letter_and_what_follows_arrives(
    shop: Installation, registry: Registry
) -> None:
    send(shop, "three", "visit", city=7)
    send(shop, "four", "visit", city="Hamar")
    shop.wait_through()
    assert of(shop, "lake", person(shop, "three")) == []
    mine = person(shop, "three").encode()
    found = shop.sql("select key, reasons->0->>'code', reasons->0->>'exception' from failures")
    assert [told for key, *told in found if key == mine] == [["refused_by_destination", "avro ValidationError"]]
    assert decoded(of(shop, "lake", person(shop, "four"))[-1], registry)["city"] == "Hamar"


def test_who_became_part_of_another_is_a_record_without_a_value(shop: Installation) -> None:
    for session in ("phone", "laptop"):
        send(shop, session, "visit", city="Oslo")
    shop.wait_through()
    before = {person(shop, session) for session in ("phone", "laptop")}
    for session in ("phone", "laptop"):
        send(shop, session, "login", user="u-1")
    shop.wait_through()
    (survivor,) = shop.sql(
        "select coalesce(merged_into, id)::text from profiles where id = %s::uuid", next(iter(before))
    )[0]
    (absorbed,) = before - {survivor}
    for topic in ("crm", "lake"):
        last = of(shop, topic, absorbed)[-1]
        assert last.value() is None
        assert last.key().decode() == absorbed
        assert headers(last)["headwater-merged-into"] == survivor


def test_deliveries_wait_while_the_topic_is_not_there(shop: Installation, services: Services) -> None:
    shop.apply(LATE.replace("PREFIX", shop.prefix))
    shop.start("dispatch-late")
    until(lambda: _is_tried_in_vain(shop), 60, shop.tell)
    admin = AdminClient({"bootstrap.servers": services.kafka.address})
    for made in admin.create_topics([NewTopic(f"{shop.prefix}late", 1, 1)]).values():
        made.result(30)
    shop.wait_through()
    found = [json.loads(record.value())["where"]["city"] for record in of(shop, "late", person(shop, "five"))]
    assert found
    assert set(found) == {"Oslo"}


def _is_tried_in_vain(shop: Installation) -> bool:
    """After one more visit: deliver has not heard of the destination yet as the first ones come."""
    send(shop, "five", "visit", city="Oslo")
    shop.wait_through(stages=STAGES)
    return bool(shop.one("select count(*) from lane_health where stage = 'dispatch-late' and retries <> '{}'"))
