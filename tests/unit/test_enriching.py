"""Enrichment of contexts."""

import json
from typing import Any

import pytest

from schemas.topics import EVENTS_ACCEPTED
from tests.driver import PLACES
from tests.unit.making import raw
from tests.unit.test_pipeline_cases_in_memory import pipeline, sent
from workflows.enriching import enriched

URL = "https://shop.example/vinyl?utm_source=news&utm_medium=e-mail&utm_campaign=Spring%20sale&other=1"
CAMPAIGN = {"source": "news", "medium": "e-mail", "name": "Spring sale"}


def made(context: dict[str, Any], *wanted: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(bytes(enriched(raw(context), wanted, lambda address: PLACES.get(address, {}))))
    return found


@pytest.mark.parametrize(
    ("context", "kind", "added"),
    [
        (
            {"page": {"url": URL}},
            "campaign",
            {"campaign": {"source": "news", "medium": "e-mail", "name": "Spring sale"}},
        ),
        ({"page": {"url": "https://shop.example/?a=b"}}, "campaign", {}),
        ({"ip": "203.0.113.77"}, "geo", {"geo": {"country": "NO", "city": "Oslo"}}),
        ({"ip": "203.0.113.77", "geo": {"country": "SE"}}, "geo", {}),
        ({"ip": "203.0.113.78"}, "geo", {}),
        ({"ip": 7}, "geo", {}),
        ({}, "geo", {}),
        ({"page": {"url": URL}, "campaign": {"name": "mine"}}, "campaign", {}),
        (
            {"page": {"url": URL, "referrer": "https://search.example/?q=x"}},
            "referrer",
            {"referrer": {"host": "search.example", "internal": False}},
        ),
        (
            {"page": {"url": URL, "referrer": "https://shop.example/"}},
            "referrer",
            {"referrer": {"host": "shop.example", "internal": True}},
        ),
        ({"page": {"referrer": "http://[broken"}}, "referrer", {}),
        ({"page": {"referrer": ""}}, "referrer", {}),
        ({"page": "text"}, "campaign", {}),
        ({"locale": "pl_PL"}, "language", {"language": "pl"}),
        ({"locale": "en"}, "language", {"language": "en"}),
        ({"page": {"url": "/?utm_source=a%00b&utm_term=c"}}, "campaign", {"campaign": {"term": "c"}}),
        ({"page": {"url": "/?utm_source=%00"}}, "campaign", {}),
        ({"locale": 7}, "language", {}),
        ({"locale": "pl", "language": "de"}, "language", {}),
    ],
)
def test_what_a_context_implies_is_added_and_what_it_says_itself_stays(
    context: dict[str, Any], kind: str, added: dict[str, Any]
):
    assert made(context, kind) == {**added, **context}


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("203.0.113.77", "203.0.113.0"),
        ("2001:db8:1234:5678::9", "2001:db8:1234::"),
        ("::1", "::"),
        ("not an address", None),
        ("203.0.113.77, 10.0.0.1", None),
        (3232235777, "192.168.1.0"),
        (None, None),
        ({}, None),
    ],
)
def test_of_an_address_the_network_is_left_and_of_what_is_none_nothing(address: Any, kept: str | None):
    assert made({"ip": address}, "anonymous-ip") == ({} if kept is None else {"ip": kept})


async def test_a_source_says_what_is_done_to_its_events():
    driver = pipeline({"kind": "source", "id": "app", "enrich": ["anonymous-ip", "geo", "campaign"]})
    context = {"page": {"url": URL}, "ip": "203.0.113.77"}
    for source in ("app", "shop"):
        driver.send(sent({"type": "view", "id": source}, source=source, context=context))
    await driver.run()
    contexts = {event.id: json.loads(bytes(event.context)) for event in driver.read(EVENTS_ACCEPTED)}
    assert (contexts["app"]["ip"], contexts["app"]["campaign"]["source"]) == ("203.0.113.0", "news")
    assert contexts["app"]["geo"]["city"] == "Oslo", "looked up before the address was made anonymous"
    assert contexts["shop"] == context


IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/17.4 Mobile/15E148 Safari/604.1"
)


def test_a_user_agent_is_read_and_what_the_client_knows_better_stays():
    found = made({"userAgent": IPHONE, "device": {"name": "mine"}}, "user-agent")
    assert found["browser"] == {"name": "Mobile Safari", "version": "17"}
    assert (found["os"], found["device"]) == ({"name": "iOS", "version": "17"}, {"name": "mine"})


@pytest.mark.parametrize("agent", ["", "nobody knows", "x" * 1001, 7, None, ["a"]])
def test_what_is_no_known_user_agent_adds_nothing(agent: Any):
    assert made({"userAgent": agent}, "user-agent") == {"userAgent": agent}


@pytest.mark.parametrize("begins", ["https://", "//", "https:/\n/", " HTTPS://"])
def test_a_host_that_is_far_too_long_is_none_and_is_not_looked_at(begins: str):
    """A page of 25 kB stopped a partition: 500 events of a payload, half a second each."""
    url = begins + "x" + "\u0301" * 8_000 + "\u0316" * 8_000 + "/?utm_source=news"
    context = {"page": {"url": url, "referrer": url}}
    assert made(context, "campaign", "referrer") == context


def test_a_host_in_letters_of_its_own_is_one():
    found = made(
        {"page": {"url": "https://b\u00fccher.example/", "referrer": "https://b\u00fccher.example/a"}}, "referrer"
    )
    assert found["referrer"] == {"host": "b\u00fccher.example", "internal": True}
