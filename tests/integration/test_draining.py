"""Waiting for a stage: until its outputs are in Kafka, and not only processed."""

import asyncio

import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from deploy.kafka import kafka_admin
from deploy.operations import draining
from deploy.operations.draining import StuckError, drain
from deploy.operations.lag import total_lag
from tests.conftest import MakeInstallation

_STORED = "insert into stage_progress (stage, topic, partition, topic_id, next_offset, first_offset) values "


async def test_a_stage_is_waited_for_until_it_has_told_kafka_that_its_outputs_are_there(
    make_installation: MakeInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draining, "STUCK_AFTER_S", 0.5)
    shop = await asyncio.to_thread(make_installation, "", partitions=1)
    shop.write_all([b"{}"] * 3)
    admin = kafka_admin(shop.settings)
    async with await psycopg.AsyncConnection.connect(shop.database_url, autocommit=True) as connection:

        async def waits_for(wanted: str) -> None:
            with pytest.raises(StuckError, match=wanted):
                await drain(connection, admin, ["validate"], lambda stage, lag: None)
            assert await total_lag(connection, admin) == 3

        await waits_for("3 records before it")
        await connection.execute(f"{_STORED} ('validate', 'tracks', 0, 'id', 3, 0)".encode())
        await waits_for("has not told Kafka so: the outputs of 3 records")
        consumer = Consumer({"bootstrap.servers": shop.kafka, "group.id": f"{shop.prefix}validate"})
        consumer.commit(offsets=[TopicPartition(f"{shop.prefix}tracks", 0, 3)], asynchronous=False)
        consumer.close()
        await drain(connection, admin, ["validate"], lambda stage, lag: None)
        assert await total_lag(connection, admin) == 0
