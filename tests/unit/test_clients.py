"""Whose request it was: what is noted of it, and what that adds to a context."""

import json
from typing import Any

import pytest

from schemas.topics import EVENTS_ACCEPTED
from tests.unit.making import raw
from tests.unit.test_pipeline_cases_in_memory import pipeline, sent
from workflows.clients import MAX_USER_AGENT_CHARS, address_of, noted, sender_of, with_client


@pytest.mark.parametrize(
    ("address", "forwarded", "proxies", "ip"),
    [
        ("203.0.113.77", "", 0, "203.0.113.77"),
        ("2001:db8::1", "", 0, "2001:db8::1"),
        ("10.0.0.1", "203.0.113.77", 0, "10.0.0.1"),  # nobody of ours says so
        ("10.0.0.1", "203.0.113.77", 1, "203.0.113.77"),
        ("10.0.0.1", "6.6.6.6, 203.0.113.77", 1, "203.0.113.77"),  # the client wrote the first one itself
        ("10.0.0.1", "6.6.6.6, 203.0.113.77, 10.0.0.2", 2, "203.0.113.77"),
        ("10.0.0.1", "203.0.113.77:5678", 1, "203.0.113.77"),
        ("10.0.0.1", "[2001:db8::1]:80", 1, "2001:db8::1"),
        ("10.0.0.1", "[2001:db8::1]", 1, "2001:db8::1"),
        ("10.0.0.1", "2001:db8::1", 1, "2001:db8::1"),
        ("10.0.0.1", "10.0.0.2", 2, None),  # came past the outer one
        ("10.0.0.1", "", 1, None),
        ("10.0.0.1", "unknown", 1, None),
        ("a socket", "", 0, None),
    ],
)
def test_an_address_is_the_client_s_or_the_one_that_the_outermost_proxy_of_ours_saw(
    address: str, forwarded: str, proxies: int, ip: str | None
):
    found = json.loads(noted(address_of(address, forwarded, proxies), "curl/8"))
    assert found == {"userAgent": "curl/8"} | ({"ip": ip} if ip else {})


@pytest.mark.parametrize(
    ("address", "sender"),
    [
        ("203.0.113.77", "203.0.113.77"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("::ffff:203.0.113.77", "203.0.113.77"),
        ("64:ff9b::203.0.113.77", "203.0.113.77"),
        ("", ""),
    ],
)
def test_rates_count_all_addresses_that_one_network_may_change_between_as_one_sender(address: str, sender: str):
    assert sender_of(address) == sender


@pytest.mark.parametrize("connections", [("203.0.113.77:5678", "203.0.113.77:5679"), ("[::1]:80", "[::1]:81")])
def test_rates_count_all_connections_of_an_address_as_one_sender_where_a_proxy_writes_their_ports(
    connections: tuple[str, ...],
):
    assert len({sender_of(address_of("10.0.0.1", one, 1)) for one in connections}) == 1


@pytest.mark.parametrize("agent", [None, "x" * (MAX_USER_AGENT_CHARS + 1), "a\0b"])
def test_a_user_agent_that_cannot_be_kept_is_left_out(agent: str | None):
    assert noted("::1", agent) == b'{"ip":"::1"}'


HEADER = b'{"ip":"203.0.113.77","userAgent":"curl/8"}'


@pytest.mark.parametrize(
    ("context", "header", "becomes"),
    [
        ({}, HEADER, {"ip": "203.0.113.77", "userAgent": "curl/8"}),
        ({"a": 1, "ip": "::1"}, HEADER, {"a": 1, "ip": "::1", "userAgent": "curl/8"}),
        ({"user_agent": "mine"}, HEADER, {"user_agent": "mine", "ip": "203.0.113.77"}),
        ({"a": 1}, b"", {"a": 1}),
        ({"a": 1}, b"\xff", {"a": 1}),
        ({"a": 1}, b"[]", {"a": 1}),
        ({"a": 1}, b'{"ip": "fe80::1%\\u0000abc"}', {"a": 1}),
        ({"a": 1}, b'{"userAgent": "' + b"x" * 10_000 + b'"}', {"a": 1}),
        ({"a": 1}, b'{"ip": 7}', {"a": 1}),
        ({"a": 1}, b'{"ip": "no address", "userAgent": "a\\u0000b", "other": 1}', {"a": 1}),
    ],
)
def test_a_context_gets_what_it_does_not_say_itself(context: dict[str, Any], header: bytes, becomes: dict[str, Any]):
    assert json.loads(bytes(with_client(raw(context), header))) == becomes


async def test_it_is_enriched_as_if_the_client_had_sent_it_where_the_source_asks_for_it():
    driver = pipeline({"kind": "source", "id": "app", "enrich": ["anonymous-ip", "geo", "client"]})
    for source in ("app", "shop"):
        event = {"type": "view", "id": source}
        driver.send(sent(event, source=source), headers={"headwater-client": HEADER.decode()})
    await driver.run()
    contexts = {event.id: json.loads(bytes(event.context)) for event in driver.read(EVENTS_ACCEPTED)}
    assert contexts["app"]["geo"]["city"] == "Oslo"
    assert contexts["app"]["ip"] == "203.0.113.0"
    assert contexts["shop"] == {}
