"""Runs that wait, through the whole pipeline in memory: told twice, told late, by another version, over merges."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from processors.runner.failures import Unavailable
from schemas.events import Answer
from schemas.topics import DEAD_LETTERS, WORKFLOW_RUNS
from tests.driver import START, Driver
from tests.memory import ParkedRuns
from tests.unit.making import definitions
from workflows.definitions import Definitions
from workflows.running import RunKey

SHOP = {"kind": "source", "id": "shop"}
LOGIN = {
    "kind": "identification-point",
    "id": "login",
    "event_type": "login",
    "identifiers": [{"namespace": "user", "property": "user"}],
}
RULE = {"kind": "rule", "id": "cart", "event_type": "cart", "workflows": ["cart"]}
CRM = {"kind": "resource", "id": "crm", "type": "http", "production": {"url": "https://crm.example"}}


def count(name: str) -> dict[str, Any]:
    return {"action": "update-profile", "config": {"increment": {name: "1"}}}


def cart(**nodes: Any) -> dict[str, Any]:
    return {"kind": "workflow", "id": "cart", "nodes": nodes}


WAITS = cart(wait={"action": "wait", "config": {"days": 3}, "then": ["after"]}, after=count("after"))
ASKS = cart(
    ask={"action": "http-request", "config": {"resource": "crm"}, "then": {"out": ["fine"], "error": ["failed"]}},
    fine=count("fine"),
    failed=count("failed"),
)
BUYS = cart(
    buy={
        "action": "wait-for-event",
        "config": {"types": ["order-*"], "if": "event.properties.n == profile.totals.carts", "days": 1},
        "then": {"came": ["bought"], "timeout": ["left"]},
    },
    count=count("carts"),
    bought={"action": "update-profile", "config": {"set": {"bought": "data.buy.type"}}},
    left=count("left"),
)


def pipeline(*bodies: dict[str, Any]) -> Driver:
    driver = Driver(definitions(SHOP, LOGIN, RULE, CRM, *bodies))
    driver.now = START
    return driver


def send(driver: Driver, *types: str, session: str = "s", **properties: Any) -> None:
    for type in types:
        body = {
            "source": {"id": "shop"},
            "session": {"id": session},
            "events": [{"type": type, "properties": properties}],
        }
        driver.send(body)


def totals(driver: Driver) -> dict[str, int]:
    """Of everybody who is live, together."""
    found: dict[str, int] = {}
    for profile, row in driver.memory.profiles.items():
        if row.merged_into is None:
            for name, total in driver.memory.state(profile).totals.items():
                found[name] = found.get(name, 0) + int(total)
    return found


async def pass_time(driver: Driver, **span: float) -> None:
    driver.now += timedelta(**span)
    await driver.tick()
    await driver.run()


def status(value: str) -> dict[str, Any]:
    return {"action": "update-profile", "config": {"set": {"status": f"'{value}'"}}}


async def test_what_a_run_sets_after_it_waited_comes_after_what_it_set_before_at_whatever_time():
    """The payload is not the first of its partition, and both events have the time at which Kafka took it; the clock of
    whoever asks the outside is behind."""
    bought = {"action": "wait-for-event", "config": {"types": ["order-*"], "days": 1}, "then": {"came": ["done"]}}
    asks = {"action": "http-request", "config": {"resource": "crm"}, "then": {"out": ["done"]}}
    for waits in (bought, asks):
        driver = pipeline(cart(open={**status("open"), "then": ["wait"]}, wait=waits, done=status("done")))
        send(driver, "page-view")
        driver.send(
            {"source": {"id": "shop"}, "session": {"id": "s"}, "events": [{"type": "cart"}, {"type": "order-a"}]}
        )
        await driver.run()
        if waits is asks:
            driver.now = START - timedelta(milliseconds=5)
            driver.answer("wait", Answer({"status": 200}))
            await driver.run()
        (profile,) = driver.memory.profiles
        assert driver.memory.state(profile).values() == {"status": "done"}


async def test_a_run_goes_on_when_its_time_has_come_and_not_before():
    driver = pipeline(WAITS)
    send(driver, "cart")
    await driver.run()
    await pass_time(driver, days=2.9)
    assert totals(driver) == {}
    await pass_time(driver, days=0.2)
    assert totals(driver) == {"after": 1}
    assert driver.memory.parked == {}
    await pass_time(driver, days=30)
    assert totals(driver) == {"after": 1}


async def test_whoever_is_told_twice_goes_on_once():
    driver = pipeline(WAITS)
    send(driver, "cart")
    await driver.run()
    driver.now += timedelta(days=4)
    await driver.tick()
    told = driver.logs[WORKFLOW_RUNS.name][-1]
    driver.logs[WORKFLOW_RUNS.name] += [told] * 3
    await driver.run()
    assert totals(driver) == {"after": 1}


async def test_what_a_run_sets_after_waiting_has_the_time_at_which_it_does():
    wait = cart(
        wait={"action": "wait", "config": {"days": 3}, "then": ["set"]},
        set={"action": "update-profile", "config": {"set": {"stage": "'reminded'"}}},
    )
    note = {"kind": "mapping", "id": "note", "event_type": "note", "set": {"stage": "'came back'"}}
    driver = pipeline(wait, note)
    send(driver, "cart")
    send(driver, "note")
    await driver.run()
    await pass_time(driver, days=4)
    (profile,) = driver.memory.profiles
    trait = driver.memory.state(profile).traits["stage"]
    assert trait.value == "reminded"
    assert trait.at == int((START + timedelta(days=3)).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    "answer, port", [(Answer({"status": 200, "body": None}), "fine"), (Answer(error="http_503"), "failed")]
)
async def test_an_answer_goes_to_the_run_that_asked(answer: Answer, port: str):
    driver = pipeline(ASKS)
    send(driver, "cart")
    await driver.run()
    assert totals(driver) == {}
    driver.answer("ask", answer)
    await driver.run()
    assert totals(driver) == {port: 1}
    assert driver.memory.calls == {}


async def test_the_event_that_is_meant_comes_once_and_others_do_not_matter():
    driver = pipeline(BUYS)
    send(driver, "cart")
    send(driver, "order-placed", n=2)
    send(driver, "order-placed", session="another", n=1)
    send(driver, "order-placed", "order-paid", n=1)
    await driver.run()
    await pass_time(driver, days=2)
    (profile,) = [id for id in driver.memory.profiles if driver.memory.state(id).totals]
    assert driver.memory.state(profile).values() == {"bought": "order-placed"}
    assert totals(driver) == {"carts": 1}


async def test_an_event_that_does_not_come_in_time_is_a_timeout():
    driver = pipeline(BUYS)
    send(driver, "cart")
    await driver.run()
    await pass_time(driver, days=2)
    send(driver, "order-placed", n=1)
    await driver.run()
    assert totals(driver) == {"carts": 1, "left": 1}


async def test_a_run_goes_on_with_the_version_that_it_began_with():
    driver = pipeline(WAITS)
    send(driver, "cart")
    await driver.run()
    changed = cart(wait={"action": "wait", "config": {"days": 9}, "then": ["other"]}, other=count("other"))
    driver.definitions = definitions(SHOP, LOGIN, RULE, CRM, changed)
    send(driver, "cart")
    await driver.run()
    await pass_time(driver, days=4)
    assert totals(driver) == {"after": 1}
    await pass_time(driver, days=10)
    assert totals(driver) == {"after": 1, "other": 1}


async def test_a_run_goes_on_with_the_person_whose_its_event_is_by_then():
    """And an event of any session of theirs is the one that it waited for."""
    driver = pipeline(BUYS)
    send(driver, "login", session="one", user="ann")
    send(driver, "cart", session="two")
    await driver.run()
    send(driver, "login", session="two", user="ann")
    await driver.run()
    send(driver, "order-placed", session="one", n=1)
    await driver.run()
    (live,) = [id for id, row in driver.memory.profiles.items() if row.merged_into is None]
    assert driver.memory.state(live).values() == {"bought": "order-placed"}


async def test_a_record_of_a_run_that_is_over_or_never_was_does_nothing():
    driver = pipeline(ASKS)
    send(driver, "cart")
    await driver.run()
    asked = dict(driver.memory.calls)
    driver.answer("ask", Answer({"status": 200, "body": 1}))
    await driver.run()
    driver.memory.calls = asked
    driver.memory.parked[next(iter(asked.values()))[0]] = (
        msgspec.json.encode(driver.read(WORKFLOW_RUNS)[0]),
        b"{}",
        next(iter(driver.memory.graphs)),
        None,
    )
    driver.answer("ask", Answer({"status": 200, "body": 2}))
    await driver.run()
    assert totals(driver) == {"fine": 1}
    assert driver.logs.get(DEAD_LETTERS.name, []) == []


async def test_a_run_whose_telling_was_lost_is_told_again():
    driver = pipeline(WAITS)
    send(driver, "cart")
    await driver.run()
    driver.now += timedelta(days=4)
    await driver.tick()
    driver.logs[WORKFLOW_RUNS.name].pop()
    await driver.run()
    assert totals(driver) == {}
    await pass_time(driver, hours=2)
    assert totals(driver) == {"after": 1}


async def test_a_call_that_was_answered_is_not_asked_again_by_the_others_answers():
    two = cart(
        one={"action": "http-request", "config": {"resource": "crm", "path": "/one"}, "then": ["seen"]},
        two={"action": "http-request", "config": {"resource": "crm", "path": "/two"}, "then": ["seen"]},
        seen={"action": "join", "config": {"first": True}, "then": {"some": ["wait"]}},
        wait={"action": "wait", "config": {"days": 1}},
    )
    driver = pipeline(two)
    send(driver, "cart")
    await driver.run()
    assert {node for _, node, _ in driver.memory.calls.values()} == {"one", "two"}
    driver.answer("one", Answer({"status": 200, "body": 1}))
    driver.answer("two", Answer({"status": 200, "body": 2}))
    await driver.run()
    assert driver.memory.calls == {}
    assert len(driver.memory.parked) == 1


async def test_a_run_that_became_another_persons_while_it_was_looked_up_is_looked_up_again():
    """As an unmerge does that ends between the look and the lock."""

    class Parted(ParkedRuns):
        async def owners(self, runs: Collection[RunKey]) -> dict[RunKey, str | None]:
            return dict.fromkeys(runs, "whoever it was")

    driver = pipeline(WAITS)
    send(driver, "cart")
    await driver.run()
    driver.now += timedelta(days=4)
    await driver.tick()
    driver.instead = {"parked": Parted(driver.memory)}
    with pytest.raises(Unavailable):
        await driver.run()
    driver.instead = {}
    await driver.run()
    assert totals(driver) == {"after": 1}


async def test_a_run_whose_version_cannot_be_run_any_more_ends_and_harms_nobody():
    driver = pipeline(BUYS, *other_workflow())
    send(driver, "cart")
    await driver.run()
    driver.memory.graphs.clear()
    changed = cart(other=count("other"))
    driver.definitions = definitions(SHOP, LOGIN, RULE, CRM, changed, *other_workflow())
    send(driver, "order-placed", n=1)
    await driver.run()
    assert totals(driver) == {"carts": 1, "orders": 1}
    await pass_time(driver, days=2)
    assert driver.memory.parked == {}
    assert "unknown_version" in str(driver.memory.runs)
    assert driver.logs.get(DEAD_LETTERS.name, []) == []


def other_workflow() -> list[dict[str, Any]]:
    return [
        {"kind": "rule", "id": "orders", "event_type": "order-placed", "workflows": ["orders"]},
        {"kind": "workflow", "id": "orders", "nodes": {"count": count("orders")}},
    ]


async def test_a_run_of_somebody_who_takes_a_consent_back_ends_where_its_rule_wants_it():
    ads = {"kind": "consent", "id": "ads"}
    driver = Driver(definitions(SHOP, ads, {**RULE, "consents": ["ads"]}, WAITS))
    driver.now = START
    send(driver, "consent-update", consents={"ads": True})
    send(driver, "cart")
    await driver.run()
    assert len(driver.memory.parked) == 1
    send(driver, "consent-update", consents={"ads": False})
    await driver.run()
    await pass_time(driver, days=4)
    assert totals(driver) == {}
    assert driver.memory.parked == {}
    assert "consent_withdrawn" in str(driver.memory.runs)


def test_a_draft_is_in_nobodys_way():
    known: Definitions = definitions(SHOP, RULE, CRM, WAITS, {**BUYS, "draft": True})
    assert known.workflows["cart"].version == definitions(SHOP, RULE, CRM, WAITS).workflows["cart"].version
    assert known.drafts["cart"].awaits == {"order-*"}
    assert known.awaited_types == frozenset()
