"""Reshaping inside the pipeline: what comes out of it is what all later stages see, and it is checked again."""

from typing import Any

import msgspec

from schemas.topics import EVENTS_ACCEPTED, EVENTS_REJECTED, EVENTS_VALID
from tests.unit.test_pipeline_cases_in_memory import Driver, live, login, pipeline, sent

SIGN_IN: dict[str, Any] = {
    "kind": "reshaping",
    "id": "old-app",
    "event_type": "signed in",
    "becomes": "login",
    "properties": {"user": "$event.properties.account.no"},
}
LOGIN_TYPE: dict[str, Any] = {
    "kind": "event-type",
    "id": "login",
    "schema": {"required": ["user"], "properties": {"user": {"type": "string"}}},
}


def signed_in(number: Any) -> dict[str, Any]:
    return {"type": "Signed in", "properties": {"account": {"no": number}}}


async def ran(driver: Driver, *payloads: dict[str, Any]) -> Driver:
    for payload in payloads:
        driver.send(payload)
    await driver.run()
    return driver


async def test_a_reshaped_event_identifies_counts_and_is_stored_as_what_it_became():
    driver = await ran(
        pipeline(SIGN_IN, LOGIN_TYPE), sent(login("u1"), session="s1"), sent(signed_in("u1"), session="s2")
    )
    assert len(live(driver)) == 1
    events = driver.read(EVENTS_ACCEPTED)
    assert [event.type for event in events] == ["login", "login"]
    assert max(event.counters["login"] for event in events) == 2
    assert {msgspec.json.decode(event.properties)["user"] for event in events} == {"u1"}


async def test_what_comes_out_of_a_reshaping_is_checked_like_what_is_sent_so():
    driver = await ran(pipeline(SIGN_IN, LOGIN_TYPE), sent(signed_in(7)))
    (rejected,) = driver.read(EVENTS_REJECTED)
    assert [(reason.code, reason.path) for reason in rejected.reasons] == [("schema_invalid", "/properties/user")]
    assert (rejected.type, driver.read(EVENTS_VALID)) == ("signed-in", [])


async def test_what_a_reshaping_rejects_is_kept_as_it_was_sent_and_passes_once_the_definition_is_mended():
    driver = await ran(pipeline(SIGN_IN, LOGIN_TYPE), sent({"type": "Signed in", "properties": {"user": "u1"}}))
    (rejected,) = driver.read(EVENTS_REJECTED)
    assert [reason.code for reason in rejected.reasons] == ["cannot_reshape"]
    mended = pipeline({**SIGN_IN, "properties": {"user": "$event.properties.user"}}, LOGIN_TYPE)
    await ran(mended, msgspec.json.decode(rejected.payload))
    assert [event.type for event in mended.read(EVENTS_ACCEPTED)] == ["login"]


async def test_a_resend_is_one_event_whatever_the_definitions_made_of_it_meanwhile():
    driver = await ran(pipeline(), sent({**signed_in("u1"), "id": "e1"}))
    driver.definitions = pipeline(SIGN_IN).definitions
    await ran(driver, sent({**signed_in("u1"), "id": "e1"}))
    assert [event.type for event in driver.read(EVENTS_ACCEPTED)] == ["signed-in"]
