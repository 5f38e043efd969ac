"""Who is who: anonymous sessions become one person, and what must not be one stays apart."""

import itertools
import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.conftest import MakeInstallation
from tests.kit.definitions import payload
from tests.kit.installation import Installation
from tests.kit.waiting import until

DEFINITIONS = """
kind: source
id: shop
---
kind: source
id: kiosk
system_events: [visit-ended]
session_idle_minutes: 5
---
kind: namespace
id: customer-id
unique: true
---
kind: namespace
id: email
normalise: lower
---
kind: identification-point
id: login
event_type: logged-in
identifiers:
  - {namespace: customer-id, property: customer}
  - {namespace: email, property: email}
---
kind: mapping
id: plans
event_type: plan-chosen
set: {plan: event.properties.plan}
---
kind: rule
id: cards
event_type: card-shown
workflows: [one-card-one-person]
---
kind: workflow
id: one-card-one-person
nodes:
  copy: {action: copy-to-profile, config: {traits: {card: card}}, then: [merge]}
  merge: {action: merge-profiles, config: {trait: card}}
"""

STAGES = ("validate", "identify", "persist", "route", "run-workflows", "merge", "segment")
_names = (f"session-{n}" for n in itertools.count())


@pytest.fixture(scope="module")
def shop(make_shared_installation: MakeInstallation) -> Installation:
    installation = make_shared_installation(DEFINITIONS)
    installation.start(*STAGES)
    installation.start_door()
    return installation


def visit(shop: Installation, type: str = "page-view", session: str = "", **properties: str) -> str:
    """An event; its session."""
    session = session or next(_names)
    answer = shop.track(payload("shop", {"type": type, "properties": properties}, session=session))
    assert answer.status_code == 200
    return session


def owner(shop: Installation, session: str) -> str:
    """The live profile of all of a session's events; there is only one."""
    query = (
        "select distinct coalesce(p.merged_into, p.id)::text from events e join profiles p on p.id = e.profile_id "
        "where e.session_id = %s"
    )
    ((found,),) = shop.sql(query, session)
    return str(found)


def test_two_anonymous_sessions_of_one_customer_become_one_profile(shop: Installation) -> None:
    one, other = visit(shop), visit(shop)
    shop.wait_through()
    assert owner(shop, one) != owner(shop, other)
    visit(shop, "logged-in", one, customer="C-1")
    visit(shop, "logged-in", other, customer="C-1")
    shop.wait_through()
    survivor = owner(shop, one)
    assert owner(shop, other) == survivor
    # The survivor is the older, and has both sessions' counters.
    assert survivor == shop.one("select profile_id::text from events where session_id = %s limit 1", one)
    counters = dict(shop.sql("select type, count from profile_counters where profile_id = %s", survivor))
    assert counters == {"page-view": 2, "logged-in": 2}
    assert shop.one("select count(*) from merges where survivor = %s and cause = 'identifier'", survivor) == 1
    last = {change["profile"]: change for change in shop.bodies("profile-changes")}
    (gone,) = (id for (id,) in shop.sql("select id::text from profiles where merged_into = %s", survivor))
    assert last[gone]["merged_into"] == survivor
    assert last[survivor]["counters"] == counters


def test_of_events_that_kafka_took_at_one_time_the_last_counts(shop: Installation) -> None:
    session = next(_names)
    plans = [f"plan {number}" for number in range(60)]
    events = [{"type": "plan-chosen", "properties": {"plan": plan}} for plan in plans]
    shop.write_all(
        (json.dumps(payload("shop", *events[at : at + 3], session=session)).encode() for at in range(0, 60, 3)),
        key=session.encode(),
    )
    shop.wait_through()
    times = shop.one("select count(distinct occurred_at) from events where session_id = %s", session)
    assert times < 20, "the producer has sent them one by one"
    traits = shop.one("select traits from profile_traits where profile_id = %s", owner(shop, session))
    assert traits["plan"][0] == plans[-1]


def test_events_after_a_merge_belong_to_the_survivor(shop: Installation) -> None:
    one, other = visit(shop), visit(shop)
    for session in (one, other):
        visit(shop, "logged-in", session, customer="C-2")
    shop.wait_through()
    visit(shop, "page-view", other)
    shop.wait_through()
    assert owner(shop, one) == owner(shop, other)
    survivor = owner(shop, one)
    assert shop.one("select count from profile_counters where profile_id = %s and type = 'page-view'", survivor) == 3


def test_a_chain_of_identifiers_ends_in_one_profile(shop: Installation) -> None:
    one = visit(shop, "logged-in", email="A@example.com")
    two = visit(shop, "logged-in", email="b@example.com")
    three = visit(shop, "logged-in", email=" B@EXAMPLE.com ", customer="C-3")
    four = visit(shop, "logged-in", email="a@example.com", customer="C-3")
    shop.wait_through()
    assert len({owner(shop, session) for session in (one, two, three, four)}) == 1


def test_two_customers_are_never_merged_and_the_conflict_is_reported(shop: Installation) -> None:
    one = visit(shop, "logged-in", customer="C-10", email="shared@example.com")
    other = visit(shop, "logged-in", customer="C-11")
    shop.wait_through()
    visit(shop, "logged-in", other, email="shared@example.com")
    shop.wait_through()
    live = dict(
        shop.sql(
            "select value, coalesce(p.merged_into, p.id)::text from identifiers i join profiles p "
            "on p.id = i.profile_id where namespace = 'customer-id' and value in ('C-10', 'C-11')"
        )
    )
    assert live["C-10"] != live["C-11"]
    ((profiles, namespace, asked),) = shop.sql(
        "select profiles::text[], namespace, asked_namespace from merge_conflicts where %s = any(profiles::text[])",
        live["C-10"],
    )
    assert (set(profiles), namespace, asked) == (set(live.values()), "customer-id", "email")
    assert owner(shop, one) == live["C-10"]


@pytest.mark.parametrize("junk", ["null", "undefined", " ", "0", "[object Object]", "Anonymous", "NaN"])
def test_junk_never_links_anybody(shop: Installation, junk: str) -> None:
    one, other = visit(shop, "logged-in", customer=junk), visit(shop, "logged-in", customer=junk)
    shop.wait_through()
    assert owner(shop, one) != owner(shop, other)


def test_profiles_with_the_same_trait_are_merged_where_a_workflow_asks_for_it(shop: Installation) -> None:
    one, other = visit(shop, "card-shown", card="K-1"), visit(shop, "card-shown", card="K-1")
    third = visit(shop, "card-shown", card="K-2")
    shop.wait_through()
    assert owner(shop, one) == owner(shop, other) != owner(shop, third)
    survivor = owner(shop, one)
    assert shop.sql("select cause, namespace from merges where survivor = %s", survivor) == [("workflow", "card")]
    assert shop.one("select traits->'card'->0 from profile_traits where profile_id = %s", survivor) == "K-1"
    assert (
        shop.sql(
            "select 1 from profile_traits t join profiles p on p.id = t.profile_id where p.merged_into = %s", survivor
        )
        == []
    )


def test_people_who_are_known_are_merged_by_a_trait_that_a_workflow_merges_by_from_now_on(
    make_installation: MakeInstallation,
) -> None:
    badges = """
---
kind: mapping
id: badge
event_type: badge-shown
set: {badge: event.properties.badge}
"""
    by_badge = """
---
kind: rule
id: badges
event_type: badge-asked
workflows: [one-badge-one-person]
---
kind: workflow
id: one-badge-one-person
nodes:
  merge: {action: merge-profiles, config: {trait: badge}}
"""
    shop = make_installation(DEFINITIONS + badges)
    shop.start(*STAGES)
    shop.start_door()
    one, other = visit(shop, "badge-shown", badge=" B-7 "), visit(shop, "badge-shown", badge="B-7")
    visit(shop, "badge-shown", badge="B-8")
    visit(shop, "badge-shown", badge="unknown")
    shop.wait_through()
    assert owner(shop, one) != owner(shop, other)
    shop.apply(DEFINITIONS + badges + by_badge)
    shop.wait_through()
    assert owner(shop, one) == owner(shop, other)
    badge = "select value from identifiers where namespace = 'badge' order by 1"
    assert shop.sql(badge) == [("B-7",), ("B-8",)]
    # Who comes later with the same badge is that person too.
    third = visit(shop, "badge-shown", badge="B-8")
    visit(shop, "badge-asked", session=third)
    shop.wait_through()
    assert shop.one("select count(*) from profiles where merged_into is not null") == 2


def test_a_visit_that_nobody_ends_is_over_after_its_idle_time_and_that_is_said_once(shop: Installation) -> None:
    long_ago = (datetime.now(UTC) - timedelta(hours=1)).replace(microsecond=0)
    for minutes in (0, 2, -1):
        happened = {"type": "card-read", "timestamp": (long_ago + timedelta(minutes=minutes)).isoformat()}
        assert shop.track(payload("kiosk", happened, session="kiosk-1")).status_code == 200
    shop.track(payload("kiosk", {"type": "card-read"}, session="kiosk-2"))
    until(lambda: len(shop.sql("select * from visit_timers")) == 2, 30, shop.tell)
    shop.wait_through()
    with psycopg.connect(shop.database_url, autocommit=True) as connection:
        connection.execute("update visit_timers set due_at = now()")  # five minutes pass
    query = "select session_id, occurred_at, properties from events where type = 'visit-ended'"
    until(lambda: shop.sql(query), 30, shop.tell)
    shop.wait_through()
    end = long_ago + timedelta(minutes=2)
    ((session, at, properties),) = shop.sql(query)
    assert session == "kiosk-1"
    assert properties == {"idle_minutes": 5}
    # To the minute is when a session was last heard of.
    assert at - end.replace(second=0) == timedelta(minutes=5)
    assert shop.sql("select id from sessions where ended_at is not null") == [("kiosk-1",)]
    assert owner(shop, "kiosk-1")
    assert [source for source, _ in shop.sql("select source, session_id from visit_timers")] == ["kiosk"]


def test_an_operator_parts_two_who_were_taken_for_one_and_looking_first_changes_nothing(shop: Installation) -> None:
    one, other = visit(shop, "logged-in", email="1@p.example"), visit(shop, "logged-in", email="2@p.example")
    shop.wait_through()
    old, young = owner(shop, one), owner(shop, other)
    done = shop.command("merge", old, young)
    assert done.returncode == 0, done.stderr
    visit(shop, "logged-in", other, email="2@p.example")
    shop.wait_through()
    before = shop.sql("select * from profile_counters order by 1, 2")
    plan = shop.json("unmerge", young, "--dry-run")
    assert (plan["left"], plan["stayed"]) == (young, old)
    assert owner(shop, other) == old
    assert shop.sql("select * from profile_counters order by 1, 2") == before
    said = {(change["profile"], change["version"]) for change in shop.bodies("profile-changes")}
    assert shop.json("unmerge", young) == plan
    shop.wait_through()
    assert (owner(shop, one), owner(shop, other)) == (old, young)
    news = [one for one in shop.bodies("profile-changes") if (one["profile"], one["version"]) not in said]
    assert {change["profile"] for change in news} == {old, young}
