"""A consumer whose known brokers are all gone asks the servers that it was given at first, and goes on asking."""

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.client import ConnectionGroup
from aiokafka.errors import KafkaConnectionError, NodeNotReadyError

from processors.runner import brokers

#: What uvloop raises.
CLOSED = RuntimeError("unable to perform operation on a transport; the handler is closed")
BOOTSTRAP = ("bootstrap", ConnectionGroup.DEFAULT)


def cluster(*topics: str) -> Any:
    """What is known after an answer."""
    return SimpleNamespace(topics=lambda: set(topics))


def client(answers: list[bool | Exception]) -> Any:
    """As much of a client as is touched; `answers` says whether each round of asking succeeds, or what it raises."""
    made = SimpleNamespace(hosts=[("127.0.0.1", 1, 0), ("127.0.0.1", 2, 0)], _conns={}, _client_id="x")
    made._request_timeout_ms = 1000
    made._security_protocol, made._ssl_context, made._sasl_mechanism = "SASL_SSL", "trusted", "PLAIN"
    made._sasl_plain_username, made._sasl_plain_password = "user", "password"

    async def known(cluster: Any, topics: Any) -> bool:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    made._metadata_update = known
    made.asked_again = 0

    def ask_again() -> None:
        made.asked_again += 1

    made.force_metadata_update = ask_again
    brokers.find_topics(made)
    return made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ports that were connected to; the first refuses."""
    found: list[int] = []

    async def connect(host: str, port: int, **given: Any) -> str:
        found.append(port)
        way = given["security_protocol"], given["ssl_context"], given["sasl_mechanism"]
        assert way == ("SASL_SSL", "trusted", "PLAIN")
        assert (given["sasl_plain_username"], given["sasl_plain_password"]) == ("user", "password")
        if port == 1:
            raise ConnectionRefusedError
        return f"connection to {port}"

    monkeypatch.setattr(brokers, "create_conn", connect)
    monkeypatch.setattr(brokers, "PAUSE_S", 0)
    monkeypatch.setattr(brokers, "AGAIN_S", 0)
    monkeypatch.setattr(brokers, "AT_MOST_EVERY_S", 0)
    return found


def test_while_a_known_broker_answers_nobody_else_is_asked(asked: list[int]) -> None:
    assert asyncio.run(client([True])._metadata_update(cluster("a"), {"a"}))
    assert asked == []


def test_when_none_answers_the_first_bootstrap_server_that_takes_a_connection_is_asked(asked: list[int]) -> None:
    made = client([False, True])
    assert asyncio.run(made._metadata_update(cluster("a"), {"a"}))
    assert asked == [1, 2]
    assert made._conns == {BOOTSTRAP: "connection to 2"}


def test_a_connection_that_closes_as_the_question_is_sent_on_it_is_no_answer(asked: list[int]) -> None:
    made = client([CLOSED, CLOSED])
    assert not asyncio.run(made._metadata_update(cluster("a"), {"a"}))
    assert asked == [1, 2], "who asked would end without a word, and its client would never know of anything new"


def test_when_nobody_takes_a_connection_the_update_has_failed(asked: list[int]) -> None:
    made = client([False])
    made.hosts = made.hosts[:1]
    assert not asyncio.run(made._metadata_update(cluster("a"), {"a"}))


async def again(made: Any, known: Any) -> int:
    """How often a client asks again of itself after two questions at once about topics `a` and `b`."""
    for _ in range(2):
        await made._metadata_update(known, {"a", "b"})
    await asyncio.sleep(0.01)
    return int(made.asked_again)


def test_a_question_that_failed_is_asked_again_and_only_once(asked: list[int]) -> None:
    made = client([False, False])
    made.hosts = made.hosts[:1]
    assert asyncio.run(again(made, cluster())) == 1


def test_a_topic_that_the_answer_does_not_know_is_asked_for_again(asked: list[int]) -> None:
    assert asyncio.run(again(client([True, True]), cluster("a"))) == 1


def test_with_all_topics_known_nothing_is_asked_again(asked: list[int]) -> None:
    assert asyncio.run(again(client([True, True]), cluster("a", "b"))) == 0


async def test_who_asks_as_fast_as_it_can_is_answered_now_and_then() -> None:
    """As aiokafka does while a partition has no leader."""
    made, begun = client([True, True, True]), time.monotonic()
    for _ in range(3):
        await made._metadata_update(cluster("a"), {"a"})
    assert time.monotonic() - begun >= 2 * brokers.AT_MOST_EVERY_S


async def sent(error: Exception | None) -> Any:
    """What comes of sending where the client raises this."""

    async def send(node: int, request: str, *, group: int = 0) -> tuple[int, str, int]:
        if error is not None:
            raise error
        return node, request, group

    made: Any = SimpleNamespace(send=send, _get_conn=send)
    brokers.outlive_connections(made)
    return await made.send(1, "commit", group=2)


async def test_a_connection_that_closes_as_something_is_sent_on_it_is_an_outage() -> None:
    with pytest.raises(KafkaConnectionError) as raised:
        await sent(CLOSED)
    assert raised.value.retriable, "aiokafka tries again"
    with pytest.raises(NodeNotReadyError):
        await sent(NodeNotReadyError())
    assert await sent(None) == (1, "commit", 2)


async def test_a_connection_that_closes_as_it_is_made_is_none() -> None:
    answers: list[str | Exception] = [CLOSED, "connection"]

    async def connect(node: int) -> str:
        if isinstance(answer := answers.pop(0), Exception):
            raise answer
        return answer

    made: Any = SimpleNamespace(send=None, _get_conn=connect)
    brokers.outlive_connections(made)
    assert [await made._get_conn(1), await made._get_conn(1)] == [None, "connection"]
