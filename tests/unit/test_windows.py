"""Windows: counts of the last days against plain counting, and the day on which they change by themselves."""

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.definitions.automation import Window
from schemas.topics import PROFILE_CHANGES
from tests.driver import START, Driver
from tests.unit.test_pipeline_cases_in_memory import live, login, pipeline, sent
from workflows.windows import counts_in, next_change, since

TODAY = date(2026, 11, 26)
windows = st.lists(
    st.builds(
        Window, id=st.sampled_from(["a", "b", "c"]), event_type=st.sampled_from(["x", "y"]), days=st.integers(1, 9)
    ),
    max_size=3,
    unique_by=lambda window: window.id,
)
histories = st.dictionaries(
    st.tuples(st.sampled_from(["x", "y"]), st.integers(-12, 1).map(lambda n: TODAY + timedelta(days=n))),
    st.integers(1, 3),
    max_size=8,
)


def slowly(found: list[Window], days: dict[Any, int], today: date) -> dict[str, int]:
    """By looking at every day of every window."""
    return {
        window.id: sum(days.get((window.event_type, today - timedelta(days=back)), 0) for back in range(window.days))
        for window in found
    }


@given(windows, histories)
def test_a_window_counts_the_days_it_says_today_included(found: list[Window], days: dict[Any, int]):
    assert counts_in(found, days, TODAY) == slowly(found, days, TODAY)
    first = since(found, TODAY)
    assert counts_in(found, {key: n for key, n in days.items() if key[1] >= first}, TODAY) == slowly(found, days, TODAY)


@given(windows, histories)
def test_nothing_changes_before_the_day_that_is_said_and_that_day_something_does(
    found: list[Window], days: dict[Any, int]
):
    now, changes = slowly(found, days, TODAY), next_change(found, days, TODAY)
    later = [TODAY + timedelta(days=ahead) for ahead in range(1, 15)]
    differing = [day for day in later if slowly(found, days, day) != now]
    assert changes == (differing[0] if differing else None) or (changes is not None and changes <= differing[0])
    if differing:
        assert changes is not None
        assert all(slowly(found, days, day) == now for day in later if day < changes)


#: The days of these tests lie before the first payload comes: clocks that run ahead are not believed.
BASE = START - timedelta(days=60)
VIEWS: dict[str, Any] = {"kind": "window", "id": "views_3d", "event_type": "view", "days": 3}
BUSY: dict[str, Any] = {"kind": "segment", "id": "busy", "condition": "profile.windows.views_3d > 1"}
ASLEEP: dict[str, Any] = {"kind": "segment", "id": "asleep", "condition": "profile.windows.views_3d == 0"}


def view(day: int, id: str) -> dict[str, Any]:
    at = (BASE + timedelta(days=day)).isoformat()
    return {"type": "view", "id": id, "timestamp": at}


async def at(driver: Driver, day: int, *payloads: dict[str, Any]) -> set[str]:
    """The segments of the only profile, on this day, after these payloads; what is due is looked at."""
    driver.now = BASE + timedelta(days=day, hours=1)
    for payload in payloads:
        driver.send(payload)
    await driver.tick()
    await driver.run()
    (profile,) = live(driver)
    return {segment for segment, _ in driver.memory.memberships.get(profile, frozenset())}


async def test_a_segment_over_a_window_is_entered_by_events_and_left_by_time():
    driver = pipeline(VIEWS, BUSY, ASLEEP)
    driver.memory.windowed = {"view"}
    assert await at(driver, 10, sent(view(8, "late"))) == set()
    assert await at(driver, 10, sent(view(10, "now"))) == {"busy"}
    assert await at(driver, 11) == set()  # the first is out of the window
    assert await at(driver, 12) == set()
    assert await at(driver, 13) == {"asleep"}
    assert await at(driver, 20) == {"asleep"}
    assert await at(driver, 21, sent(view(20, "again"), view(21, "and again"))) == {"busy"}
    said = [(sorted(change.entered), sorted(change.left)) for change in driver.read(PROFILE_CHANGES)]
    assert [one for one in said if any(one)] == [
        (["busy"], []),
        ([], ["busy"]),
        (["asleep"], []),
        (["busy"], ["asleep"]),
    ]


async def test_days_of_two_who_become_one_add_up():
    driver = pipeline(VIEWS, BUSY)
    driver.memory.windowed = {"view"}
    driver.now = BASE + timedelta(days=1)
    driver.send(sent(view(1, "a"), session="s1"))
    driver.send(sent(view(1, "b"), session="s2"))
    await driver.run()
    assert not any(driver.memory.memberships.values())
    assert await at(driver, 1, sent(login("u"), session="s1"), sent(login("u"), session="s2")) == {"busy"}


async def test_time_that_changes_nothing_says_nothing():
    driver = pipeline(VIEWS, {"kind": "segment", "id": "ever", "condition": 'profile.counters["view"] > 0'})
    driver.memory.windowed = {"view"}
    await at(driver, 1, sent(view(1, "a")))
    before = len(driver.read(PROFILE_CHANGES))
    for day in range(2, 8):
        assert await at(driver, day) == {"ever"}
    assert len(driver.read(PROFILE_CHANGES)) == before
    assert driver.memory.timers == {}


async def test_a_consent_that_ends_is_said_when_it_ends():
    driver = pipeline(
        {"kind": "consent", "id": "ads", "expires_days": 2},
        {"kind": "segment", "id": "reachable", "condition": "profile.consents.ads"},
    )
    yes = {"type": "v", "timestamp": (BASE + timedelta(days=1)).isoformat(), "context": {"consents": {"ads": True}}}
    assert await at(driver, 1, sent(yes)) == {"reachable"}
    assert await at(driver, 2) == {"reachable"}
    assert await at(driver, 3) == set()


@pytest.mark.parametrize("wrong", [{"id": "7d"}, {"id": "views-7d"}, {"days": 0}, {"days": 5000}])
def test_a_window_has_a_name_that_conditions_can_say(wrong: dict[str, Any]):
    with pytest.raises(ValueError):
        pipeline({**VIEWS, **wrong})


async def test_visits_are_sessions_however_late_their_events_come():
    driver = pipeline({"kind": "segment", "id": "returning", "condition": "profile.visits.count > 1"})
    assert await at(driver, 3, sent(view(2, "b"), session="s1"), sent(login("u"), session="s1")) == set()
    late = [sent(view(1, "a"), session="s2"), sent(login("u"), session="s2"), sent(view(0, "c"), session="s2")]
    assert await at(driver, 3, *late) == {"returning"}
    visits = driver.read(PROFILE_CHANGES)[-1].visits
    assert (visits.count, visits.first_at) == (2, BASE)


async def test_who_loses_a_visit_to_somebody_else_is_looked_at_again():
    """Whoever logs in within another's session takes it with them."""
    driver = pipeline({"kind": "segment", "id": "visitor", "condition": "profile.visits.count > 0"})
    members: list[set[str]] = []
    for user in ("ann", "bob"):
        driver.send(sent(login(user), session="s1"))
        await driver.run()
        owner = driver.memory.identifiers
        people = {name: driver.memory.live(owner["user", name]) for name in ("ann", "bob") if ("user", name) in owner}
        members.append({name for name, id in people.items() if driver.memory.memberships.get(id)})
    assert members == [{"ann"}, {"bob"}]
