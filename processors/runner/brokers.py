"""Keeps a consumer able to find Kafka and its topics: aiokafka asks only the brokers that it heard of last for their
successors, and where an answer fails it asks again after a minute or more."""

import asyncio
from time import monotonic
from typing import Any

from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import create_conn
from aiokafka.errors import KafkaConnectionError, KafkaError

#: aiokafka itself asks again at once, as fast as it can, while no broker answers.
PAUSE_S = 0.3
#: After which a question without a whole answer is asked again.
AGAIN_S = 1.0
#: It asks as fast as it can, too, while a partition has no leader.
AT_MOST_EVERY_S = 0.1
_BOOTSTRAP = ("bootstrap", ConnectionGroup.DEFAULT)


def find_topics(client: AIOKafkaClient) -> None:
    """Where none of the brokers that it knows answers, let the client ask the servers it was given at first; and let it
    ask again soon while it does not know all the topics that it wants.

    Without the first a worker whose last news of the cluster names a single broker waits for that one for ever, though
    the others live. Without the second a worker that began as Kafka went away leads its group without knowing of any
    partition, and gives nobody anything to do until aiokafka asks by itself.
    """
    client._metadata_update = _Asking(client).update


def outlive_connections(client: AIOKafkaClient) -> None:
    """Where a connection closes as something is sent on it, uvloop raises what aiokafka does not expect: its group's
    task would end, and the worker with it, now and then as Kafka goes away."""
    send, connect = client.send, client._get_conn

    async def outliving(*args: Any, **kwargs: Any) -> Any:
        try:
            return await send(*args, **kwargs)
        except KafkaError:  # is a RuntimeError, too
            raise
        except RuntimeError as error:
            raise KafkaConnectionError("closed") from error

    async def connecting(*args: Any, **kwargs: Any) -> Any:
        try:
            return await connect(*args, **kwargs)
        except RuntimeError:  # the first that is sent on a connection asks what the broker can do
            return None

    client.send, client._get_conn = outliving, connecting


class _Asking:
    def __init__(self, client: AIOKafkaClient) -> None:
        self._client, self._ask_known = client, client._metadata_update
        self._again: asyncio.TimerHandle | None = None
        self._answered_at = -AT_MOST_EVERY_S

    async def update(self, cluster: Any, topics: Any) -> bool:
        if (left := self._answered_at + AT_MOST_EVERY_S - monotonic()) > 0:
            await asyncio.sleep(left)
        updated = await self._ask(cluster, topics) or await self._ask_bootstrap(cluster, topics)
        if not (updated and cluster.topics().issuperset(topics or ())):
            self._ask_again()
        self._answered_at = monotonic()
        return updated

    async def _ask(self, cluster: Any, topics: Any) -> bool:
        """As the client asks, see outlive_connections: the task that asks would end without a word, and whoever wants
        to know something new of the cluster, before a commit for one, would wait for ever."""
        try:
            return bool(await self._ask_known(cluster, topics))
        except RuntimeError:
            return False

    async def _ask_bootstrap(self, cluster: Any, topics: Any) -> bool:
        await asyncio.sleep(PAUSE_S)
        connection = await _connect(self._client)
        if connection is None:
            return False
        # The client asks this one too, and closes it when it has an answer.
        before = self._client._conns.pop(_BOOTSTRAP, None)
        if before is not None:
            before.close()
        self._client._conns[_BOOTSTRAP] = connection
        return await self._ask(cluster, topics)

    def _ask_again(self) -> None:
        """One question is waiting at most: those that aiokafka asks meanwhile would start more."""
        if self._again is not None:
            self._again.cancel()
        self._again = asyncio.get_running_loop().call_later(AGAIN_S, self._client.force_metadata_update)


async def _connect(client: AIOKafkaClient) -> Any:
    """A connection to the first bootstrap server that takes one, with what the client was given to be let in."""
    for host, port, _ in client.hosts:
        try:
            return await create_conn(
                host,
                port,
                client_id=client._client_id,
                request_timeout_ms=client._request_timeout_ms,
                security_protocol=client._security_protocol,
                ssl_context=client._ssl_context,
                sasl_mechanism=client._sasl_mechanism,
                sasl_plain_username=client._sasl_plain_username,
                sasl_plain_password=client._sasl_plain_password,
            )
        except (OSError, RuntimeError, TimeoutError):  # KafkaError is a RuntimeError
            continue
    return None
