"""Values in Avro: those of the schema and no others, under the id that the registry gave the schema."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from processors.connectors.avro import AvroValues, RegistryPlace
from processors.connectors.guard import Guard, guarded_session
from processors.runner.failures import Poison, Unavailable
from schemas.definitions.outbound import Avro
from tests.kit.registry import Registry


@pytest.fixture
def registry() -> Iterator[Registry]:
    started = Registry()
    yield started
    started.close()


@pytest.fixture
async def values(registry: Registry) -> AsyncIterator[AvroValues]:
    async with guarded_session(Guard(["127.0.0.0/8"])) as client:
        yield AvroValues(client, lambda id: RegistryPlace(registry.url + "/", {}) if id == "registry" else None)


def avro(type: Any, **fields: Any) -> Avro:
    record = {"type": "record", "name": "P", "fields": [{"name": "v", "type": type}]}
    return Avro.model_validate({"registry": "registry", "schema": record, **fields})


@pytest.mark.parametrize(
    ("type", "value"),
    [
        ("boolean", None),
        ("boolean", "no"),
        ("int", 3.7),
        ("long", 3.7),
        ("int", 2**40),
        ({"type": "array", "items": "string"}, "Oslo"),
        ({"type": "map", "values": "string"}, []),
        ("null", "x"),
        ("double", "3"),
        ("string", 7),
        ("string", None),
        (["null", "string"], 7),
        ({"type": "enum", "name": "E", "symbols": ["a"]}, "b"),
    ],
)
async def test_what_is_not_of_the_schema_is_refused_and_not_made_to_fit(
    values: AvroValues, type: Any, value: Any
) -> None:
    encode = await values.encoder(avro(type), "lake")
    with pytest.raises(Poison, match="refused_by_destination"):
        encode({"v": value})


@pytest.mark.parametrize(
    ("type", "value", "written"),
    [
        ("double", 3, b"\x00\x00\x00\x00\x00\x00\x08\x40"),
        ("string", "ø", b"\x04\xc3\xb8"),
        (["null", "string"], None, b"\x00"),
        ("long", -1, b"\x01"),
        ({"type": "array", "items": "boolean"}, [True], b"\x02\x01\x00"),
    ],
)
async def test_what_is_of_the_schema_is_written_behind_its_id(
    values: AvroValues, type: Any, value: Any, written: bytes
) -> None:
    encode = await values.encoder(avro(type), "lake")
    assert encode({"v": value}) == b"\x00\x00\x00\x00\x01" + written


async def test_fields_that_the_schema_does_not_have_are_refused_and_its_defaults_filled_in(values: AvroValues) -> None:
    encode = await values.encoder(avro("string"), "lake")
    with pytest.raises(Poison):
        encode({"v": "a", "more": 1})
    with pytest.raises(Poison):
        encode({})


async def test_a_subject_is_one_part_of_the_address_whatever_it_says(registry: Registry, values: AvroValues) -> None:
    await values.encoder(avro("string", subject="a?b#c%2f"), "lake")
    assert registry.subjects == ["/subjects/a%3Fb%23c%252f/versions"]


@pytest.mark.parametrize("subject", ["..", ".", "a/b", "../config", "a b", ""])
def test_a_subject_that_would_lead_elsewhere_is_refused(subject: str) -> None:
    with pytest.raises(ValueError, match="subject"):
        avro("string", subject=subject)


async def test_while_the_registry_refuses_deliveries_wait(registry: Registry, values: AvroValues) -> None:
    registry.refusing = 409
    with pytest.raises(Unavailable, match="409"):
        await values.encoder(avro("string"), "lake")
    registry.refusing = 0
    await values.encoder(avro("string"), "lake")


@pytest.mark.parametrize("id", [-1, 2**32, 1e300, "7", None])
async def test_an_id_that_is_none_is_not_believed(registry: Registry, values: AvroValues, id: Any) -> None:
    registry.id = id
    with pytest.raises(Unavailable):
        await values.encoder(avro("string"), "lake")


async def test_a_registry_that_is_gone_is_waited_for(values: AvroValues) -> None:
    with pytest.raises(Unavailable, match="removed"):
        await values.encoder(avro("string").model_copy(update={"registry": "other"}), "lake")
