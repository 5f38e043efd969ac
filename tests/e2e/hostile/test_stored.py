"""What becomes of odd events that were taken: stored to the byte as they came, and everything else as documented."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.hostile.bodies import body, event
from tests.e2e.hostile.strings import ALL
from tests.kit.installation import RECORDING, Installation
from tests.kit.waiting import until
from tests.kit.wire import Wire, request

SECRET = "what only the owner may see"


@pytest.fixture(scope="module")
def recorded(door: Installation) -> Iterator[Installation]:
    """The door, and behind it everything that records: all that other tests sent too."""
    door.start(*RECORDING)
    yield door
    for stage in RECORDING:
        door.stop(stage)


def send(wire: Wire, *events: Any, headers: tuple[bytes, ...] = (), **more: Any) -> list[dict[str, Any]]:
    """The verdicts on these events."""
    answer = wire.ask(request(body(*events, **more), *headers))
    assert answer.status == 200, answer.body
    verdicts: list[dict[str, Any]] = json.loads(answer.body)["events"]
    return verdicts


def row(recorded: Installation, id: str, columns: str) -> tuple[Any, ...]:
    query = f"select {columns} from events where id = %s"
    return until(lambda: recorded.sql(query, id), 60, recorded.tell)[0]


def test_texts_are_stored_to_the_byte_and_never_evaluated(recorded: Installation, wire: Wire) -> None:
    texts = [event(id=f"text-{number}", properties={"v": text, "list": [text]}) for number, text in enumerate(ALL)]
    assert len(texts) >= 60
    send(wire, *texts, session={"id": "texts"})
    row(recorded, f"text-{len(ALL) - 1}", "1")
    query = "select id, properties from events where session_id = 'texts'"
    found = dict(recorded.sql(query))
    assert found == {f"text-{number}": {"v": text, "list": [text]} for number, text in enumerate(ALL)}


def test_texts_are_keys_and_parts_of_contexts_too(recorded: Installation, wire: Wire) -> None:
    keyed = {text: number for number, text in enumerate(ALL) if len(text.encode()) <= 256}
    send(wire, event(id="keyed", properties=keyed, context={"own": keyed}), context={"outer": ALL})
    properties, context = row(recorded, "keyed", "properties, context")
    assert properties == keyed
    assert context == {"outer": ALL, "own": keyed}


def test_ids_are_texts_and_equal_only_to_themselves(recorded: Installation, wire: Wire) -> None:
    """As printed, no more: neither composed nor in one case, so two that look the same are two."""
    ids = [text for text in ALL if text.isprintable() and text == text.strip() and len(text) <= 90]
    assert len(ids) >= 60
    events = [event(id=f"id:{id}", properties={"number": number}) for number, id in enumerate(ids)]
    send(wire, *events, session={"id": "ids"})
    row(recorded, events[-1]["id"], "1")
    query = "select id, (properties->>'number')::int from events where session_id = 'ids' and reused_id is null"
    assert dict(recorded.sql(query)) == {one["id"]: one["properties"]["number"] for one in events}


def test_sessions_are_texts_and_equal_only_to_themselves(recorded: Installation, wire: Wire) -> None:
    sessions = [
        "s-caf\u00e9",
        "s-cafe\u0301",
        "S-caf\u00e9",
        "s-'; drop table sessions; --",
        "s-{{7*7}}",
        "s-\U0001f4a9",
    ]
    for number, session in enumerate(sessions):
        send(wire, event(id=f"of-session-{number}"), session={"id": session})
    found = [row(recorded, f"of-session-{number}", "session_id, profile_id") for number in range(len(sessions))]
    assert [session for session, _ in found] == sessions
    assert len({profile for _, profile in found}) == len(sessions)


def test_fields_that_the_server_sets_are_the_servers(recorded: Installation, wire: Wire) -> None:
    mine: Any = dict.fromkeys(
        ("received_at", "ip", "_offset", "segments", "counters", "origin", "replay", "hops"), "1999"
    )
    forged = event(id="forged", **mine, source={"id": "locked"}, session={"id": "x"}, profile={"id": "x"})
    send(wire, forged, session={"id": "mine"}, **mine, tenant="other")
    query = "source, session_id, extract(year from received_at) > 2000, hops, properties, context"
    assert row(recorded, "forged", query) == ("shop", "mine", True, 0, {}, {})


def test_of_a_key_that_stands_twice_the_last_counts(recorded: Installation, wire: Wire) -> None:
    twice = body(event(id="twice", properties={"a": 1})).replace(b'"a": 1', b'"a": 1, "a": 2')
    assert wire.ask(request(twice)).status == 200
    assert row(recorded, "twice", "properties") == ({"a": 2},)


def test_whose_request_it_was_does_not_come_from_a_header_of_the_clients(recorded: Installation, wire: Wire) -> None:
    forged = ("6.6.6.6", ", ".join(["6.6.6.6"] * 800), "garbage, \xff", "'; drop table events; --")
    for number, addresses in enumerate(forged):
        headers = (b"x-forwarded-for: " + addresses.encode("latin-1"), b"forwarded: for=6.6.6.6", b"x-real-ip: 6.6.6.6")
        send(wire, event(id=f"forwarded-{number}"), source="browsers", headers=headers)
        (context,) = row(recorded, f"forwarded-{number}", "context")
        assert context["ip"] == "127.0.0.1"


def test_times_are_corrected_or_taken_as_documented(recorded: Installation, wire: Wire) -> None:
    verdicts = send(wire, event(), event(timestamp="3000-01-01T00:00:00Z"), event(timestamp="1000-01-01T00:00:00Z"))
    columns = "occurred_at = received_at, time_corrected, extract(year from occurred_at)::int"
    found = [row(recorded, verdict["id"], columns) for verdict in verdicts]
    assert [one[:2] for one in found] == [(True, False), (True, True), (False, False)]
    assert found[2][2] == 1000


def test_an_event_without_an_id_gets_one_and_a_resend_is_counted_once(recorded: Installation, wire: Wire) -> None:
    (made,) = send(wire, event())
    assert row(recorded, made["id"], "type") == ("page-view",)
    for _ in range(2):
        twice = send(wire, event(id="again"), event(id="again"), session={"id": "again"})
        assert [verdict["id"] for verdict in twice] == ["again", "again"]
    send(wire, event(id="again", properties={"other": True}), session={"id": "again"})
    query = "select id, reused_id from events where session_id = 'again' order by reused_id nulls first"
    until(lambda: len(recorded.sql(query)) == 2, 60, recorded.tell)
    (first, _), (_, reused) = recorded.sql(query)
    assert (first, reused) == ("again", "again")
    until(lambda: recorded.one("select count(*) from event_duplicates where id = 'again'") == 3, 60, recorded.tell)


def test_nothing_of_a_profile_is_ever_told_not_even_to_who_knows_its_id(recorded: Installation, wire: Wire) -> None:
    known = body(event(id="told", properties={"s": SECRET}), session={"id": "a"})
    theirs = json.loads(wire.ask(request(known)).body)["profile"]["id"]
    row(recorded, "told", "1")
    for id in (theirs, theirs.upper(), str(uuid.uuid4())):
        sent = body(
            event(), source="browsers", session={"id": f"b-{id}"}, profile={"id": id}, options={"profile": True}
        )
        answer = wire.ask(request(sent))
        assert SECRET.encode() not in answer.raw
        assert set(json.loads(answer.body)) == {"session", "profile", "events"}
        assert set(json.loads(answer.body)["profile"]) == {"id"}


def test_what_programs_write_for_none_makes_nobody_one_person(recorded: Installation, wire: Wire) -> None:
    for number, id in enumerate(("null", "undefined", "NaN", "[object Object]", "0", "none")):
        for visitor in "ab":
            one = event(id=f"none-{number}-{visitor}")
            sent = body(one, source="own-profiles", session={"id": f"none-{number}-{visitor}"}, profile={"id": id})
            wire.ask(request(sent))
    send(wire, event(id="after-none"))
    row(recorded, "after-none", "1")
    recorded.wait_through(stages=RECORDING)
    query = "select count(*), count(distinct profile_id) from events where source = 'own-profiles'"
    ((events, profiles),) = recorded.sql(query)
    assert events == profiles


def test_without_a_consent_that_its_source_requires_nothing_is_kept(recorded: Installation, wire: Wire) -> None:
    send(wire, event(id="no-consent"), source="consenting", session={"id": "no-consent"})
    send(wire, event(id="consent", context={"consents": {"marketing": True}}), source="consenting", session={"id": "c"})
    row(recorded, "consent", "1")
    recorded.wait_through(stages=RECORDING)
    assert recorded.sql("select 1 from events where id = 'no-consent'") == []
    assert recorded.accounting()["consenting"]["dropped"] == 1


def test_everything_the_door_took_has_one_outcome(recorded: Installation) -> None:
    recorded.wait_through(stages=RECORDING)
    assert "shop" in recorded.require_balance()
    assert recorded.sql("select reasons from failures where kind <> 'rejected'") == []
