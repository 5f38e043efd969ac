"""Destinations that are topics: what is refused when they are applied, and what a record is made of."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.definitions import read_folder, require_whole
from processors.connectors.avro import AvroValues, wrong_schema
from processors.connectors.topic import Cluster, TopicWriter, is_own
from processors.runner.failures import Unavailable
from schemas.definitions.outbound import Destination
from schemas.profiles import Delivery
from schemas.topics import CATALOGUE
from workflows.definitions import DefinitionError

RECORD = {"type": "record", "name": "P", "fields": [{"name": "city", "type": "string"}]}
THEIRS = {"kind": "resource", "id": "theirs", "type": "kafka", "production": {"servers": "kafka.example:9092"}}
REGISTRY = {"kind": "resource", "id": "registry", "type": "http", "production": {"url": "http://registry.example"}}


def lake(**topic: Any) -> dict[str, Any]:
    return {"kind": "destination", "id": "lake", "topic": {"name": "lake", **topic}}


def applied(folder: Path, *documents: dict[str, Any]) -> None:
    (folder / "all.yaml").write_text(yaml.safe_dump_all(documents))
    require_whole(read_folder(folder))


def test_a_topic_of_another_kafka_with_a_schema_is_applied(tmp_path: Path) -> None:
    applied(tmp_path, THEIRS, REGISTRY, lake(resource="theirs", avro={"registry": "registry", "schema": RECORD}))


@pytest.mark.parametrize(
    ("documents", "says"),
    [
        ([lake(name="tracks")], "a topic of the pipeline's own"),
        ([lake(name="destination-crm")], "a topic of the pipeline's own"),
        ([THEIRS, lake(name="config", resource="theirs")], "a topic of the pipeline's own"),
        ([{**lake(key="mail"), "mapping": {"email": "profile.id"}}], "mail is no field of what is sent"),
        ([{**lake(headers={"h": "mail.x"}), "mapping": {"email": "profile.id"}}], "mail.x is no field"),
        ([{**lake(), "batch": 10}], "batch and rate_per_s are for webhooks"),
        ([{**lake(), "rate_per_s": 10}], "batch and rate_per_s are for webhooks"),
        ([lake(resource="theirs")], "no resource 'theirs' of the type kafka"),
        ([REGISTRY, lake(resource="registry")], "no resource 'registry' of the type kafka"),
        ([THEIRS, lake(avro={"registry": "theirs", "schema": RECORD})], "no resource 'theirs' of the type http"),
        ([REGISTRY, lake(avro={"registry": "registry", "schema": {"type": "string"}})], "a record is wanted"),
        ([REGISTRY, lake(avro={"registry": "registry", "schema": {"type": "record"}})], "topic.avro.schema"),
        ([{**lake(), "type": "webhook", "url": "http://example.com"}], "a topic is for kafka"),
        ([{**THEIRS, "type": "http"}], "a kafka one servers"),
        ([{**REGISTRY, "production": {"url": "http://a", "servers": "b:1"}}], "an http resource has a url"),
        ([{**THEIRS, "production": {"servers": "no-port"}}], "production.servers"),
        (
            [{**THEIRS, "production": {"servers": "a:1", "settings": {"sasl.kerberos.kinit.cmd": "rm -rf ~"}}}],
            "sasl.kerberos.kinit.cmd",
        ),
        (
            [{**REGISTRY, "production": {"url": "http://a", "settings": {"sasl.username": "a"}}}],
            "settings are for kafka",
        ),
    ],
)
def test_what_could_not_work_is_refused_when_it_is_applied(
    tmp_path: Path, documents: list[dict[str, Any]], says: str
) -> None:
    with pytest.raises(DefinitionError, match=says):
        applied(tmp_path, *documents)


def test_every_topic_of_ours_is_known_as_ours() -> None:
    assert all(is_own(topic.name) for topic in CATALOGUE)
    assert not is_own("crm.people")


def test_a_schema_that_is_one_has_nothing_wrong() -> None:
    assert wrong_schema(RECORD) is None


def writer(look: Any, name: str = "lake", resource: str | None = "theirs") -> TopicWriter:
    body = lake(name=name, **({"resource": resource} if resource else {}))
    destination = Destination.model_validate(body)
    cluster = Cluster({"bootstrap.servers": "10.0.0.1:9092", "log_level": 0}, foreign=resource is not None)
    return TopicWriter(lambda: destination, lambda id: cluster, look, AvroValues(None, lambda id: None), "x-")  # type: ignore[arg-type]


async def test_an_address_that_may_not_be_reached_is_not_connected_to() -> None:
    looked = []

    async def look(host: str, port: int) -> None:
        looked.append((host, port))
        raise OSError("not from here")

    with pytest.raises(Unavailable, match="destination's Kafka"):
        await writer(look).deliver([Delivery(id="d", destination="lake", profile="p", version=1, body={})])
    assert looked == [("10.0.0.1", 9092)]


async def test_the_pipelines_own_topics_are_not_written_to_under_a_prefix_either() -> None:
    with pytest.raises(Unavailable, match="the pipeline's own topic"):
        await writer(None, "x-tracks", None).deliver(
            [Delivery(id="d", destination="lake", profile="p", version=1, body={})]
        )
