"""Webhooks of anybody at /collect, and links at /redirect: what they become, and what they can never be made to do."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from tests.conftest import MakeInstallation
from tests.kit.installation import RECORDING, Installation
from tests.kit.waiting import until
from workflows.definitions import DefinitionError

SECRET, BEFORE, STRANGERS = (
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    "whsec_c3RyYW5nZXJzIGhhdmUgb3RoZXIga2V5cw==",
)
DEFINITIONS = f"""
{{kind: source, id: hooks}}
---
kind: source
id: billing
client_profile_ids: true
webhook: {{event_id: event.id, session: customer.visit, profile: customer.id}}
---
{{kind: source, id: makers, webhook: {{makes_profiles: true}}}}
---
{{kind: source, id: signed, signing: ["{BEFORE}", "{SECRET}"]}}
---
{{kind: source, id: closed, enabled: false}}
---
{{kind: source, id: track-only, bridges: [http]}}
---
kind: event-type
id: paid
schema: {{type: object, properties: {{total: {{type: number}}}}}}
"""
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def door(make_shared_installation: MakeInstallation) -> Installation:
    installation = make_shared_installation(DEFINITIONS, forked=True)
    installation.start(*RECORDING)
    installation.start_door()
    return installation


def ask(door: Installation, method: str, path: str, **request: Any) -> httpx.Response:
    with httpx.Client(base_url=door.url, trust_env=False, timeout=30) as client:
        return client.request(method, path, **request)


def collect(door: Installation, path: str, body: Any, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(door, "POST", f"/collect/{path}", content=json.dumps(body), headers=JSON | named)


def recorded(door: Installation, id: str) -> tuple[Any, ...]:
    """(type, source, session, profile, properties) of a recorded event."""
    query = "select type, source, session_id, profile_id::text, properties from events where id = %s"
    return until(lambda: door.sql(query, id), 20, door.tell)[0]


def failed(door: Installation, id: str) -> tuple[str, Any]:
    """The reason of a rejected event, and the properties that are kept of it."""
    query = "select reasons->0->>'code', content from failures where event_id = %s"
    code, content = until(lambda: door.sql(query, id), 20, door.tell)[0]
    return code, json.loads(content)["events"][0]["properties"]


def taken(door: Installation) -> int:
    """Records that were ever written to `tracks`."""
    return sum(door.ends(["tracks"]).values())


def count(door: Installation, table: str, id: str) -> int:
    return int(door.one(f"select count(*) from {table} where id = %s", id))


FORM = {"content-type": "application/x-www-form-urlencoded"}
BODIES: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "a JSON object": (
        "POST",
        {"content": '{"a": {"b": [1, 2.50, null]}, "ü": "☃"}', "headers": JSON},
        {"a": {"b": [1, 2.5, None]}, "ü": "☃"},
    ),
    "JSON as text/plain": ("POST", {"content": b'{"a":1}', "headers": {"content-type": "text/plain"}}, {"a": 1}),
    "JSON, compressed": (
        "POST",
        {"content": gzip.compress(b'{"a":1}'), "headers": {**JSON, "content-encoding": "gzip"}},
        {"a": 1},
    ),
    "a form": ("POST", {"content": "a=1&b=x+y%26z&c=&b=last", "headers": FORM}, {"a": "1", "b": "last", "c": ""}),
    "a query": ("GET", {"params": {"a": "1", "url": "https://x.example/?y=z", "ü": "☃"}}, {}),
    "no query": ("GET", {}, {}),
    "an empty body": ("POST", {"content": b"", "headers": JSON}, {}),
    "an empty form": ("POST", {"content": b"", "headers": FORM}, {}),
    "no body at all": ("POST", {}, {}),
}


@pytest.mark.parametrize("case", BODIES)
def test_whatever_is_sent_becomes_the_properties_of_one_event_of_the_session_in_the_path(
    door: Installation, case: str
) -> None:
    method, request, properties = BODIES[case]
    answer = ask(door, method, "/collect/Order%20Paid/hooks/visit-7", **request)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert said["session"] == {"id": "visit-7"}
    (verdict,) = said["events"]
    assert recorded(door, verdict["id"]) == (
        "order-paid",
        "hooks",
        "visit-7",
        said["profile"]["id"],
        request.get("params", properties),
    )


def test_a_list_becomes_an_event_each_in_its_order_and_without_a_session_they_are_nobodys(door: Installation) -> None:
    said = collect(door, "paid/hooks", [{"n": 1}, {"n": 2, "total": "wrong"}, 3, {"n": 4}]).json()
    assert (said["session"], said["profile"]) == (None, None)
    assert [verdict["status"] for verdict in said["events"]] == ["accepted", "rejected", "rejected", "accepted"]
    codes = [verdict["reasons"][0]["code"] for verdict in said["events"][1:3]]
    assert codes == ["schema_invalid", "invalid_properties"]
    for index, number in ((0, 1), (3, 4)):
        assert recorded(door, said["events"][index]["id"]) == ("paid", "hooks", None, None, {"n": number})
    for verdict, properties in zip(said["events"][1:3], ({"n": 2, "total": "wrong"}, 3), strict=True):
        assert failed(door, verdict["id"]) == (verdict["reasons"][0]["code"], properties)


def test_where_all_are_wrong_the_answer_says_so_and_all_are_filed(door: Installation) -> None:
    answer = collect(door, "paid/hooks", [{"total": "a"}, {"total": "b"}])
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "no_acceptable_event")
    found = [failed(door, verdict["id"]) for verdict in answer.json()["events"]]
    assert found == [("schema_invalid", {"total": "a"}), ("schema_invalid", {"total": "b"})]


POST = {"content": b'{"a":1}', "headers": JSON}
REFUSED: dict[str, tuple[str, str, dict[str, Any], int, str]] = {
    "an empty list": ("POST", "paid/hooks", {**POST, "content": b"[]"}, 400, "empty_batch"),
    "501 events": ("POST", "paid/hooks", {**POST, "content": f"[{'{},' * 500}{{}}]"}, 413, "batch_too_large"),
    "no JSON": ("POST", "paid/hooks", {**POST, "content": b"<xml/>"}, 400, "invalid_json"),
    "two objects": ("POST", "paid/hooks", {**POST, "content": b'{"a":1}{"a":2}'}, 400, "invalid_json"),
    "a list that is cut off": ("POST", "paid/hooks", {**POST, "content": b'[{"a":1},{"b"'}, 400, "invalid_json"),
    "no UTF-8": ("POST", "paid/hooks", {**POST, "content": b'{"a":"\xff"}'}, 400, "invalid_encoding"),
    "a form that is no UTF-8": ("POST", "paid/hooks", {"content": b"a=\xff", "headers": FORM}, 400, "invalid_encoding"),
    "a query that is no UTF-8": ("GET", "paid/hooks?a=%ff", {}, 400, "invalid_form"),
    "101 parameters": ("GET", "paid/hooks?" + "a=1&" * 101, {}, 400, "query_too_long"),
    "XML": ("POST", "paid/hooks", {**POST, "headers": {"content-type": "text/xml"}}, 415, "unsupported_media_type"),
    "an unknown source": ("POST", "paid/nobody", POST, 401, "unknown_source"),
    "a source that is off": ("POST", "paid/closed", POST, 404, "source_disabled"),
    "a source for /track": ("GET", "paid/track-only", {}, 403, "bridge_not_allowed"),
    "no source": ("POST", "paid", POST, 404, "not_found"),
    "a part too many": ("POST", "paid/hooks/visit/more", POST, 404, "not_found"),
    "an empty session": ("POST", "paid/hooks/", POST, 404, "not_found"),
    "another method": ("PUT", "paid/hooks", POST, 405, "method_not_allowed"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_leaves_nothing(door: Installation, case: str) -> None:
    method, path, request, status, code = REFUSED[case]
    before = taken(door)
    answer = ask(door, method, f"/collect/{path}", **request)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert taken(door) == before


def test_id_session_and_profile_lie_in_the_body_where_the_source_says_and_a_resend_counts_once(
    door: Installation,
) -> None:
    body = {"event": {"id": 4711}, "customer": {"visit": "v-1", "id": "c-1"}, "note": "x"}
    said = [collect(door, "paid/billing", body).json() for _ in range(2)]
    assert said[0] == said[1]
    assert (said[0]["session"], said[0]["events"]) == ({"id": "v-1"}, [{"id": "4711", "status": "accepted"}])
    profile = said[0]["profile"]["id"]
    assert recorded(door, "4711") == ("paid", "billing", "v-1", profile, body)
    until(lambda: count(door, "event_duplicates", "4711") == 1, 20, door.tell)
    assert count(door, "events", "4711") == 1
    other = {"event": {"id": "e-2"}, "customer": {"visit": "v-2", "id": "c-1"}}
    assert collect(door, "paid/billing", other).json()["profile"] == {"id": profile}
    in_path = collect(door, "paid/billing/mine", {"event": {"id": "e-3"}, "customer": {"visit": "v-3"}}).json()
    assert in_path["session"] == {"id": "mine"}


def test_a_list_of_several_sessions_is_answered_in_its_own_order(door: Installation) -> None:
    bodies = [
        {"event": {"id": f"mixed-{n}"}, "customer": {"visit": f"mixed-{n % 2}"}, **({"total": "x"} if n == 1 else {})}
        for n in range(4)
    ]
    said = collect(door, "paid/billing", bodies).json()
    statuses = {"mixed-0": "accepted", "mixed-1": "rejected", "mixed-2": "accepted", "mixed-3": "accepted"}
    assert [(one["id"], one["status"]) for one in said["events"]] == list(statuses.items())
    assert {recorded(door, f"mixed-{n}")[2] for n in (0, 2)} == {"mixed-0"}
    assert recorded(door, "mixed-3")[2] == "mixed-1"


def test_a_source_may_have_a_profile_made_for_each_body_that_names_nobody(door: Installation) -> None:
    said = [collect(door, "paid/makers", {"n": n}).json() for n in range(2)]
    assert len({one["profile"]["id"] for one in said}) == 2
    for one in said:
        assert recorded(door, one["events"][0]["id"])[2:4] == (None, one["profile"]["id"])


def signed(secret: str, id: str, body: str, ago_s: float = 0) -> dict[str, str]:
    at = datetime.now(UTC) - timedelta(seconds=ago_s)
    return {
        "webhook_id": id,
        "webhook_timestamp": str(int(at.timestamp())),
        "webhook_signature": Webhook(secret).sign(id, at, body),
    }


def test_what_is_signed_is_taken_and_its_message_id_is_the_events_so_that_a_resend_counts_once(
    door: Installation,
) -> None:
    body = {"n": 1}
    for secret, ago_s in ((SECRET, 60), (BEFORE, 0)):
        answer = collect(door, "paid/signed/s", body, **signed(secret, "msg-1", json.dumps(body), ago_s))
        assert (answer.status_code, answer.json()["events"][0]["id"]) == (200, "msg-1")
    assert recorded(door, "msg-1")[:3] == ("paid", "signed", "s")
    until(lambda: count(door, "event_duplicates", "msg-1") == 1, 20, door.tell)


def test_a_signed_list_that_is_sent_again_counts_once_too(door: Installation) -> None:
    bodies = [{"n": 1}, {"n": 2}]
    said = [
        collect(door, "paid/signed", bodies, **signed(SECRET, "msg-list", json.dumps(bodies))).json() for _ in range(2)
    ]
    assert len({verdict["id"] for verdict in said[0]["events"]}) == 2
    assert said[0]["events"] == said[1]["events"]


def unsigned() -> dict[str, dict[str, str]]:
    """Signatures that are none now."""
    good = signed(SECRET, "msg-2", '{"n": 1}')
    return {
        "a stranger's secret": signed(STRANGERS, "msg-2", '{"n": 1}'),
        "an old signature": signed(SECRET, "msg-2", '{"n": 1}', ago_s=400),
        "one of the future": signed(SECRET, "msg-2", '{"n": 1}', ago_s=-400),
        "of another body": signed(SECRET, "msg-2", '{"n": 2}'),
        "of another message": {**good, "webhook_id": "msg-3"},
        "of another time": {**good, "webhook_timestamp": str(int(good["webhook_timestamp"]) - 1)},
        "of another version": {**good, "webhook_signature": good["webhook_signature"].replace("v1,", "v1a,")},
        **{f"no {name}": {other: good[other] for other in good if other != name} for name in good},
        "nothing": {},
    }


@pytest.mark.parametrize("case", unsigned())
def test_what_is_not_signed_so_is_refused_and_leaves_nothing(door: Installation, case: str) -> None:
    before = taken(door)
    answer = collect(door, "paid/signed", {"n": 1}, **unsigned()[case])
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "bad_signature")
    assert taken(door) == before
    assert ask(door, "POST", "/track", json={"source": {"id": "signed"}, "events": [{"type": "x"}]}).status_code == 401


@pytest.mark.parametrize("secret", ["whsec_", ""])
def test_a_secret_that_everybody_knows_is_none(door: Installation, secret: str) -> None:
    with pytest.raises(DefinitionError):
        door.apply(f'{{kind: source, id: open-to-all, signing: ["{secret}"]}}')


def test_everything_that_was_taken_has_one_outcome(door: Installation) -> None:
    door.wait_through()
    assert {"hooks", "billing", "makers", "signed"} == set(door.require_balance())
