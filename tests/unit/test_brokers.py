"""A consumer whose known brokers are all gone asks the servers that it was given at first."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.client import ConnectionGroup

from processors.runner import brokers

BOOTSTRAP = ("bootstrap", ConnectionGroup.DEFAULT)


def client(answers: list[bool]) -> Any:
    """As much of a client as is touched; `answers` says whether each round of asking succeeds."""
    made = SimpleNamespace(hosts=[("127.0.0.1", 1, 0), ("127.0.0.1", 2, 0)], _conns={}, _client_id="x")
    made._request_timeout_ms = 1000

    async def known(cluster: Any, topics: Any) -> bool:
        return answers.pop(0)

    made._metadata_update = known
    brokers.ask_bootstrap_servers(made)
    return made


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ports that were connected to; the first refuses."""
    found: list[int] = []

    async def connect(host: str, port: int, **_: Any) -> str:
        found.append(port)
        if port == 1:
            raise ConnectionRefusedError
        return f"connection to {port}"

    monkeypatch.setattr(brokers, "create_conn", connect)
    monkeypatch.setattr(brokers, "PAUSE_S", 0)
    return found


def test_while_a_known_broker_answers_nobody_else_is_asked(asked: list[int]) -> None:
    assert asyncio.run(client([True])._metadata_update(None, None))
    assert asked == []


def test_when_none_answers_the_first_bootstrap_server_that_takes_a_connection_is_asked(asked: list[int]) -> None:
    made = client([False, True])
    assert asyncio.run(made._metadata_update(None, None))
    assert asked == [1, 2]
    assert made._conns == {BOOTSTRAP: "connection to 2"}


def test_when_nobody_takes_a_connection_the_update_has_failed(asked: list[int]) -> None:
    made = client([False])
    made.hosts = made.hosts[:1]
    assert not asyncio.run(made._metadata_update(None, None))
