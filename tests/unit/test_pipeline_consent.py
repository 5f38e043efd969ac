"""Consent through the whole pipeline: what was not agreed to is nowhere, and no destination hears of who said no."""

import json
from typing import Any

import msgspec

from schemas.topics import DEAD_LETTERS, EVENTS_ACCEPTED, EVENTS_REJECTED, PROFILE_CHANGES, destination_topic
from tests.driver import Driver
from tests.unit.test_pipeline_cases_in_memory import live, login, owner, pipeline, sent

CANARY = "canary@example.org"
ADS = {"kind": "consent", "id": "ads"}
STRICT = {"kind": "source", "id": "app", "requires_consent": ["ads"]}
PROTECTED: dict[str, Any] = {
    "kind": "compliance",
    "id": "gdpr",
    "protected": [
        {"property": "user", "consents": ["ads"]},
        {"context": "ip", "consents": ["ads"], "otherwise": "hash"},
    ],
}
CRM = {"kind": "destination", "id": "crm", "consents": ["ads"]}


async def ran(driver: Driver, *payloads: dict[str, Any]) -> Driver:
    for payload in payloads:
        driver.send(payload)
    await driver.run()
    return driver


def traces(driver: Driver) -> list[str]:
    """Where the canary is, behind identify: in tables, and in topics that identify or anybody after it writes."""
    tables = [name for name, table in vars(driver.memory).items() if CANARY in repr(table)]
    before = ("tracks", "events-valid")
    topics = [n for n, log in driver.logs.items() if n not in before and any(CANARY in repr(r.value) for r in log)]
    return [*tables, *topics]


async def test_an_identifier_that_needs_consent_identifies_nobody_without_it():
    driver = await ran(
        pipeline(ADS, PROTECTED),
        sent(login(CANARY), session="s1", context={"ip": CANARY}),
        sent(login(CANARY), session="s2"),
    )
    assert len(live(driver)) == 2
    assert [name for name in traces(driver) if name != "archived"] == []


async def test_with_consent_it_does():
    yes = {"consents": {"ads": True}}
    driver = await ran(
        pipeline(ADS, PROTECTED),
        sent(login("u"), session="s1", context=yes),
        sent(login("u"), session="s2", context=yes),
    )
    assert len(live(driver)) == 1


async def test_a_source_that_requires_consent_leaves_nothing_of_who_did_not_agree():
    driver = await ran(
        pipeline(ADS, STRICT),
        sent({"type": "view", "properties": {"mail": CANARY}}, source="app", session=CANARY),
        sent({"type": "!", "properties": {"mail": CANARY}}, source="app"),
    )
    assert traces(driver) == []
    assert len(driver.memory.dropped) == 1
    (rejected,) = driver.read(EVENTS_REJECTED)
    assert bytes(rejected.payload) == b"{}"
    assert (driver.memory.profiles, driver.memory.sessions, driver.read(DEAD_LETTERS)) == ({}, {}, [])


async def test_a_yes_opens_the_source_and_a_no_closes_it_and_both_are_said_to_who_follows():
    def consent(value: bool, id: str) -> dict[str, Any]:
        return sent({"type": "consent-update", "id": id, "properties": {"consents": {"ads": value}}}, source="app")

    view = {"type": "view"}
    driver = await ran(
        pipeline(ADS, STRICT, CRM),
        sent(view, source="app"),
        consent(True, "yes"),
        sent({**view, "id": "seen"}, source="app"),
    )
    await ran(driver, consent(False, "no"), sent(view, source="app"))
    assert sorted(id for _, id in driver.memory.events) == ["seen", "yes"]
    assert len(driver.memory.dropped) == 3
    changes = driver.read(PROFILE_CHANGES)
    assert changes[-1].consents == {"ads": False}
    delivered = [delivery.version for delivery in driver.read(destination_topic("crm"))]
    assert delivered == [change.version for change in changes if change.consents["ads"]]
    assert delivered


async def test_where_two_become_one_the_stricter_word_stays_until_they_say_another():
    def said(value: bool, session: str) -> dict[str, Any]:
        return sent({**login("u"), "context": {"consents": {"ads": value}}}, session=session)

    driver = await ran(
        pipeline(ADS),
        sent({"type": "v", "context": {"consents": {"ads": False}}}, session="s1"),
        said(True, "s2"),
        said(True, "s2"),
    )
    await ran(driver, sent({**login("u"), "id": "e"}, session="s1"))
    (profile,) = live(driver)
    assert {key: one.granted for key, one in driver.memory.consents.items()} == {(profile, "ads"): False}
    await ran(driver, said(True, "s1"))
    assert driver.memory.consents[owner(driver, "e"), "ads"].granted is True


async def test_what_a_workflow_sent_for_somebody_who_was_merged_meanwhile_goes_out_as_its_survivor_has_agreed():
    tell = {"action": "send-to-destination", "config": {"destination": "mail", "properties": {"order": "event.id"}}}
    city = {"action": "copy-to-profile", "config": {"traits": {"secret": "secret", "city": "city"}}}
    mail = {"kind": "destination", "id": "mail", "consents": ["ads"], "on_change": ["traits.none"]}
    driver = pipeline(
        ADS,
        mail,
        {"kind": "destination", "id": "everything"},
        {"kind": "trait", "id": "secret", "private": True},
        {"kind": "rule", "id": "r", "event_type": "v", "workflows": ["w"]},
        {"kind": "rule", "id": "o", "event_type": "order", "workflows": ["tell"]},
        {"kind": "workflow", "id": "w", "nodes": {"copy": city}},
        {"kind": "workflow", "id": "tell", "nodes": {"tell": tell}},
    )
    yes = {"consents": {"ads": True}}
    of_ann = {"secret": CANARY, "city": "Oslo"}
    await ran(driver, sent({"type": "v", "properties": of_ann}, login("u"), session="s1", context=yes))
    driver.send(sent({"type": "order", "id": "order"}, session="s2", context=yes))
    await driver.run(without={"segment"})
    driver.send(sent(login("u"), session="s2", context=yes))
    await driver.run(without={"segment"})
    await driver.run()
    (ann,) = live(driver)
    (told,) = [one for one in driver.read(destination_topic("mail")) if one.cause == "send"]
    assert (told.profile, told.body["profile"]) == (ann, ann)
    assert told.body["properties"] == {"order": "order"}
    assert told.body["traits"] == {"city": "Oslo"}
    (gone,) = [one for one in driver.read(destination_topic("everything")) if one.gone]
    assert gone.body.keys() == {"profile", "version", "at", "changed", "merged_into"}


async def test_private_traits_go_where_they_are_asked_for_alone():
    copy = {"action": "copy-to-profile", "config": {"traits": {"secret": "secret", "city": "city"}}}
    driver = await ran(
        pipeline(
            {"kind": "trait", "id": "secret", "private": True},
            {"kind": "segment", "id": "insiders", "condition": 'profile.traits.secret == "x"'},
            {"kind": "destination", "id": "plain", "condition": 'profile.traits.secret == "x"'},
            {
                "kind": "destination",
                "id": "mapped",
                "mapping": {"s": "profile.traits.secret", "c": "profile.traits.city"},
            },
            {"kind": "destination", "id": "trusted", "private": True, "mapping": {"s": "profile.traits.secret"}},
            {"kind": "rule", "id": "r", "event_type": "v", "workflows": ["w"]},
            {"kind": "workflow", "id": "w", "nodes": {"copy": copy}},
        ),
        sent({"type": "v", "properties": {"secret": "x", "city": "Oslo"}}),
    )
    (plain,), (mapped,), (trusted,) = (driver.read(destination_topic(id)) for id in ("plain", "mapped", "trusted"))
    assert plain.body["traits"] == {"city": "Oslo"}
    assert plain.body["segments"] == ["insiders"]
    assert "secret" not in json.dumps(plain.body)
    assert mapped.body == {"s": None, "c": "Oslo"}
    assert trusted.body == {"s": "x"}


async def test_what_was_dropped_stays_dropped_though_it_is_read_again_after_a_yes():
    view = {"type": "view", "id": "view"}
    yes = {"type": "consent-update", "id": "yes", "properties": {"consents": {"ads": True}}}
    driver = await ran(pipeline(ADS, STRICT), sent(view, source="app"), sent(yes, source="app"))
    log = driver.logs["events-valid"]
    log += [msgspec.structs.replace(record, offset=len(log) + n) for n, record in enumerate(list(log))]
    await driver.run()
    assert {event.id for event in driver.read(EVENTS_ACCEPTED)} == {"yes"}
    assert [id for _, id in driver.memory.events] == ["yes"]
    assert len(driver.memory.dropped) == 1
