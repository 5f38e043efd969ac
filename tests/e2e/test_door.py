"""The door: what it answers is what is recorded later; what it refuses leaves nothing behind."""

import gzip
import json
import uuid
from typing import Any

import httpx
import pytest

from tests.conftest import MakeInstallation
from tests.kit.definitions import SHOP, payload
from tests.kit.installation import RECORDING, Installation
from tests.kit.waiting import until

DEFINITIONS = (
    SHOP
    + """
---
kind: source
id: switched-off
enabled: false
---
kind: source
id: kafka-only
bridges: [kafka]
---
kind: source
id: own-profiles
client_profile_ids: true
---
kind: source
id: mixed
---
kind: source
id: browsers
enrich: [client, user-agent]
"""
)
SECRET = "jane.doe@example.com"


@pytest.fixture(scope="module")
def door(make_shared_installation: MakeInstallation) -> Installation:
    installation = make_shared_installation(DEFINITIONS, forked=False)
    installation.start(*RECORDING)
    installation.start_door()
    return installation


def order(**changes: Any) -> dict[str, Any]:
    properties = {"order": {"discs": 2, "total": 25.5}, "customer": {"id": "c-1"}}
    return {"id": str(uuid.uuid4()), "type": "Order Completed", "properties": {**properties, **changes}}


def recorded(door: Installation, id: str) -> tuple[Any, ...]:
    """(type, profile, session, properties, context) of a recorded event."""
    query = "select type, profile_id::text, session_id, properties, context from events where id = %s"
    return until(lambda: door.sql(query, id), 20, door.tell)[0]


def test_the_door_is_not_ready_before_there_are_definitions(make_installation: MakeInstallation) -> None:
    installation = make_installation("")
    # Read to its end and empty is ready too: so the topic itself must not be there yet.
    installation._admin.delete_topics([installation.prefix + "config"])[installation.prefix + "config"].result(10)
    installation._start("ingest", ["ingest"])
    until(lambda: installation.get_status("/health") == 200, 20, installation.tell)
    assert installation.get_status("/ready") == 503
    answer = installation.track(payload("shop", {"type": "page-view"}))
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    assert answer.json()["error"]["code"] == "starting"


def test_a_minimal_payload_gets_ids_that_are_recorded_later(door: Installation) -> None:
    event = {"type": "page-view", "properties": {"pageTitle": "Home Page"}}
    answer = door.track(payload("shop", event, session="minimal"))
    assert answer.status_code == 200
    said = answer.json()
    assert said["session"] == {"id": "minimal"}
    (verdict,) = said["events"]
    assert verdict["status"] == "accepted"
    type_, profile, session, properties, _ = recorded(door, verdict["id"])
    assert (type_, session, properties) == ("page-view", "minimal", {"pageTitle": "Home Page"})
    assert profile == said["profile"]["id"]


def test_a_full_payload_is_recorded_with_all_its_parts(door: Installation) -> None:
    said = door.track(
        {
            "source": {"id": "shop"},
            "session": {"id": "full"},
            "profile": {"id": None},
            "context": {"device": "phone", "language": "en"},
            "events": [
                {
                    "id": "full-1",
                    "type": "Page  View",
                    "timestamp": "1997-01-02T12:00:00+02:00",
                    "properties": {"pageTitle": "Ünïcode ☃", "nothing": None, "list": [1, 2.5, True]},
                    "options": {"saveEvents": True},
                    "context": {"language": "fr", "tags": ["a"]},
                },
                {"id": "full-2", "type": "Order Completed", "properties": order()["properties"]},
            ],
            "options": {"saveSession": True},
        }
    ).json()
    assert [verdict["id"] for verdict in said["events"]] == ["full-1", "full-2"]
    type_, profile, session, properties, context = recorded(door, "full-1")
    assert (type_, session, profile) == ("page-view", "full", said["profile"]["id"])
    assert properties == {"pageTitle": "Ünïcode ☃", "nothing": None, "list": [1, 2.5, True]}
    assert context == {"device": "phone", "language": "fr", "tags": ["a"]}
    assert door.one("select occurred_at at time zone 'utc' from events where id = 'full-1'").isoformat() == (
        "1997-01-02T10:00:00"
    )
    assert recorded(door, "full-2")[:3] == ("order-completed", profile, "full")


def test_whose_request_it_was_is_in_the_context_where_the_source_asks_for_it(door: Installation) -> None:
    for source, id in (("browsers", "with-client"), ("shop", "without-client")):
        sent = payload(source, {"type": "page-view", "id": id}, session="client")
        assert (
            door.track(sent, headers={"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}).status_code == 200
        )
    *_, context = recorded(door, "with-client")
    assert context["ip"] == "127.0.0.1"
    assert (context["browser"]["name"], context["os"]["name"]) == ("Firefox", "Linux")
    assert recorded(door, "without-client")[-1] == {}


def test_a_returned_profile_id_leads_back_to_the_same_profile(door: Installation) -> None:
    first = door.track(payload("shop", {"type": "page-view"}, session="visit-1")).json()
    mine = first["profile"]["id"]
    second = door.track(payload("shop", {"type": "page-view"}, session="visit-2", profile={"id": mine})).json()
    assert second["profile"]["id"] == mine
    assert {recorded(door, said["events"][0]["id"])[1] for said in (first, second)} == {mine}


def test_the_same_session_gets_the_same_profile_id_again(door: Installation) -> None:
    said = [door.track(payload("shop", {"type": "page-view"}, session="again")).json() for _ in range(2)]
    assert said[0]["profile"] == said[1]["profile"]


def test_a_forged_profile_id_is_replaced(door: Installation) -> None:
    forged = str(uuid.uuid4())
    said = door.track(payload("shop", {"type": "page-view"}, session="forger", profile={"id": forged})).json()
    assert said["profile"]["id"] != forged
    assert recorded(door, said["events"][0]["id"])[1] == said["profile"]["id"]
    assert door.sql("select 1 from profiles where id = %s", forged) == []


def test_a_source_may_bring_profile_ids_of_its_own(door: Installation) -> None:
    said = [
        door.track(payload("own-profiles", {"type": "page-view"}, session=f"own-{n}", profile={"id": "mine"})).json()
        for n in range(2)
    ]
    assert said[0]["profile"] == said[1]["profile"]
    assert len({recorded(door, one["events"][0]["id"])[1] for one in said}) == 1


def test_a_payload_without_session_and_ids_is_recorded_under_the_ids_it_was_told(door: Installation) -> None:
    said = door.track(payload("shop", {"type": "page-view"}, {"type": "page-view"})).json()
    ids = [verdict["id"] for verdict in said["events"]]
    assert said["session"] is None
    assert len(set(ids)) == 2
    for id in ids:
        assert recorded(door, id)[2] is None
    assert recorded(door, ids[0])[1] == said["profile"]["id"]


def test_a_gzip_body_is_read(door: Installation) -> None:
    body = gzip.compress(json.dumps(payload("shop", {"type": "page-view", "id": "zipped"})).encode())
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert door.track(content=body, headers=headers).status_code == 200
    assert recorded(door, "zipped")


def test_one_bad_event_does_not_sink_its_siblings(door: Installation) -> None:
    bad = order(customer={"id": 7, "mail": SECRET})
    good, other = order(), {"id": "sibling", "type": "page-view"}
    answer = door.track(payload("mixed", good, bad, other, session="siblings"))
    assert answer.status_code == 200
    assert [verdict["status"] for verdict in answer.json()["events"]] == ["accepted", "rejected", "accepted"]
    assert [verdict["id"] for verdict in answer.json()["events"]] == [good["id"], bad["id"], "sibling"]
    (reason,) = answer.json()["events"][1]["reasons"]
    assert (reason["code"], reason["path"]) == ("schema_invalid", "/properties/customer/id")
    assert recorded(door, good["id"])
    assert recorded(door, "sibling")
    query = "select kind, stage, source, type, reasons, content from failures where event_id = %s"
    ((kind, stage, source, type_, reasons, content),) = until(lambda: door.sql(query, bad["id"]), 20, door.tell)
    assert (kind, stage, source, type_) == ("rejected", "validate", "mixed", "order-completed")
    assert [(one["code"], one["path"]) for one in reasons] == [("schema_invalid", "/properties/customer/id")]
    assert SECRET not in json.dumps(reasons)
    assert json.loads(content) == payload("mixed", bad, session="siblings")
    assert door.sql("select 1 from events where id = %s", bad["id"]) == []


def test_a_payload_without_any_good_event_is_a_400_and_is_filed(door: Installation) -> None:
    bad = order(order={"discs": 0, "total": 1, "note": SECRET})
    answer = door.track(payload("mixed", bad))
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "no_acceptable_event"
    assert answer.json()["events"][0]["status"] == "rejected"
    assert SECRET not in answer.text
    assert until(lambda: door.sql("select 1 from failures where event_id = %s", bad["id"]), 20, door.tell)


def sent_whole(**request: Any) -> dict[str, Any]:
    return {"headers": {"content-type": "application/json"}, **request}


GOOD = json.dumps(payload("shop", {"type": "page-view", "properties": {"mail": SECRET}})).encode()
GZIP = {"content-type": "application/json", "content-encoding": "gzip"}
REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
    "empty body": (sent_whole(content=b""), 400, "empty_body"),
    "blanks": (sent_whole(content=b"  \n "), 400, "empty_body"),
    "cut off": (sent_whole(content=GOOD[:-3]), 400, "invalid_json"),
    "two documents": (sent_whole(content=GOOD + GOOD), 400, "invalid_json"),
    "NaN": (sent_whole(content=GOOD.replace(b'"jane', b'NaN, "')), 400, "invalid_json"),
    "invalid UTF-8": (sent_whole(content=GOOD.replace(b"jane", b"\xff\xfe")), 400, "invalid_encoding"),
    "an array": (sent_whole(content=b"[" + GOOD + b"]"), 400, "not_an_object"),
    "no events": (sent_whole(content=b'{"source":{"id":"shop"}}'), 400, "empty_batch"),
    "events is no list": (sent_whole(content=b'{"source":{"id":"shop"},"events":{}}'), 400, "empty_batch"),
    "100,000 brackets": (sent_whole(content=b"[" * 100_000), 400, "not_an_object"),
    "deep": (
        sent_whole(content=b'{"source":{"id":"shop"},"context":' + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"}"),
        400,
        "too_deep",
    ),
    "501 events": (
        sent_whole(content=json.dumps(payload("shop", *[{"type": "page-view"}] * 501)).encode()),
        413,
        "batch_too_large",
    ),
    "no source": (sent_whole(content=b'{"events":[{"type":"page-view"}]}'), 401, "no_source"),
    "unknown source": (sent_whole(content=GOOD.replace(b'"shop"', b'"nobody"')), 401, "unknown_source"),
    "a source id that is none": (
        sent_whole(content=GOOD.replace(b'"shop"', b'"' + b"x" * 9000 + b'"')),
        401,
        "no_source",
    ),
    "source switched off": (sent_whole(content=GOOD.replace(b'"shop"', b'"switched-off"')), 404, "source_disabled"),
    "wrong bridge": (sent_whole(content=GOOD.replace(b'"shop"', b'"kafka-only"')), 403, "bridge_not_allowed"),
    "too large": (sent_whole(content=GOOD + b" " * 1_000_001), 413, "body_too_large"),
    "inflates too large": ({"content": gzip.compress(GOOD + b" " * 3_000_000), "headers": GZIP}, 413, "body_too_large"),
    "not gzip": ({"content": GOOD, "headers": GZIP}, 400, "bad_encoding"),
    "cut off gzip": ({"content": gzip.compress(GOOD)[:-9], "headers": GZIP}, 400, "bad_encoding"),
    "two gzip members": ({"content": gzip.compress(GOOD) * 2, "headers": GZIP}, 400, "bad_encoding"),
    "brotli": (
        {"content": GOOD, "headers": {"content-type": "application/json", "content-encoding": "br"}},
        415,
        "unsupported_encoding",
    ),
    "a form": (
        {"content": GOOD, "headers": {"content-type": "application/x-www-form-urlencoded"}},
        415,
        "unsupported_media_type",
    ),
    "no content type": ({"content": GOOD}, 415, "unsupported_media_type"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_gets_its_documented_answer_and_leaves_nothing(door: Installation, case: str) -> None:
    request, status, code = REFUSED[case]
    before = sum(door.ends(["tracks"]).values())
    answer = door.track(**request)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert set(error) == {"code", "message", "request_id"}
    assert SECRET not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert sum(door.ends(["tracks"]).values()) == before


def test_other_paths_and_methods_are_refused(door: Installation) -> None:
    with httpx.Client(base_url=door.url, trust_env=False) as client:
        for path in ("/", "/track/", "//track", "/tracks", "/track%00", "/%2e%2e/track"):
            assert client.post(path, content=GOOD).status_code == 404, path
        for method in ("GET", "PUT", "DELETE", "PATCH"):
            answer = client.request(method, "/track")
            assert (answer.status_code, answer.headers.get("allow")) == (405, "POST"), method


def test_metrics_count_requests_and_events(door: Installation) -> None:
    def counted(text: str, name: str) -> float:
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    before = door.get("/metrics").text
    assert door.track(payload("shop", {"type": "page-view"}, {"type": "page-view"})).status_code == 200
    assert door.track(payload("nobody", {"type": "page-view"})).status_code == 401
    after = door.get("/metrics").text
    for name, more in {
        'headwater_door_requests_total{outcome="accepted"}': 1,
        'headwater_door_requests_total{outcome="unknown_source"}': 1,
        'headwater_door_events_total{source="shop",verdict="accepted"}': 2,
        "headwater_door_seconds_count": 2,
    }.items():
        assert counted(after, name) - counted(before, name) == more, name


def test_everything_the_door_took_has_one_outcome(door: Installation) -> None:
    door.wait_through()
    assert set(door.require_balance()) == {"shop", "mixed", "own-profiles", "browsers"}


def test_doors_share_a_port_and_one_may_go_while_the_other_serves(make_installation: MakeInstallation) -> None:
    """So a machine can have a door for each of its cores, and a new version takes over from the old one."""
    installation = make_installation(DEFINITIONS)
    installation.start_door()
    installation.start("ingest", name="ingest-2")
    found: set[str] = set()

    def both_answer() -> bool:
        """Connections are new ones: the ids of a door's requests begin with what is its own."""
        found.add(httpx.get(installation.url + "/ready", trust_env=False).headers["x-request-id"].split("-")[0])
        return len(found) == 2

    until(both_answer, 30, installation.tell)
    installation.stop("ingest")
    until(lambda: httpx.get(installation.url + "/ready", trust_env=False).status_code == 200, 30, installation.tell)
    answer = httpx.post(installation.url + "/track", json=payload("shop", {"type": "page-view"}), trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["x-request-id"].split("-")[0] in found
