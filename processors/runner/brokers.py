"""Keeps a consumer able to find Kafka: aiokafka asks only the brokers that it heard of last for their successors."""

import asyncio
from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaError

#: aiokafka itself asks again at once, as fast as it can, while no broker answers.
PAUSE_S = 0.3
_BOOTSTRAP = ("bootstrap", ConnectionGroup.DEFAULT)


def ask_bootstrap_servers(client: AIOKafkaClient) -> None:
    """Where none of the brokers that it knows answers, let the client ask the servers it was given at first.

    Without this a worker whose last news of the cluster names a single broker waits for that one for ever, though the
    others live.
    """
    known = client._metadata_update

    async def update(cluster: Any, topics: Any) -> bool:
        if await known(cluster, topics):
            return True
        await asyncio.sleep(PAUSE_S)
        connection = await _connect(client)
        if connection is None:
            return False
        # The client asks this one too, and closes it when it has an answer.
        before = client._conns.pop(_BOOTSTRAP, None)
        if before is not None:
            before.close()
        client._conns[_BOOTSTRAP] = connection
        return bool(await known(cluster, topics))

    client._metadata_update = update


async def _connect(client: AIOKafkaClient) -> Any:
    """A connection to the first bootstrap server that takes one."""
    for host, port, _ in client.hosts:
        try:
            return await create_conn(
                host, port, client_id=client._client_id, request_timeout_ms=client._request_timeout_ms
            )
        except (OSError, KafkaError, TimeoutError):
            continue
    return None
