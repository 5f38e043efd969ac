"""A connection to a real Kafka that breaks as something is sent on it, on the loop of the workers."""

import asyncio

import uvloop
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.structs import BrokerMetadata

from processors.runner.brokers import find_topics, outlive_connections
from tests.faults.proxy import Proxy
from tests.kit.services import Services


def test_who_asks_for_the_cluster_as_its_connection_breaks_goes_on_asking(services: Services) -> None:
    host, _, port = services.kafka.address.partition(":")
    proxy = Proxy(lambda: (host, int(port)))

    async def ask() -> bool:
        client = AIOKafkaClient(bootstrap_servers=services.kafka.address)
        outlive_connections(client)
        find_topics(client)
        await client.bootstrap()
        client.cluster.broker_metadata = lambda node: BrokerMetadata(node, host, proxy.port, None)
        try:
            (node,) = (broker.nodeId for broker in client.cluster.brokers())
            assert await client.ready(node)
            connection = client._conns[node, ConnectionGroup.DEFAULT]
            transport = connection._writer.transport
            proxy.cut()  # the loop stands still meanwhile
            while "closed=True" not in repr(transport):  # noqa: ASYNC110  # in one of the next rounds of the loop
                await asyncio.sleep(0)
            assert connection.connected(), "it has not heard of it yet"
            async with asyncio.timeout(10):
                await client._metadata_update(client.cluster, set())
                return bool(await client.force_metadata_update())
        finally:
            await client.close()

    try:
        assert uvloop.run(ask())
    finally:
        proxy.close()
