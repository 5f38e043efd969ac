"""The counters of somebody with very many event types, as they travel."""

from schemas.limits import MAX_COUNTERS
from schemas.topics import EVENTS_ACCEPTED, PROFILE_CHANGES
from tests.unit.test_pipeline_cases_in_memory import pipeline, sent
from workflows.counters import carried


def test_all_counters_travel_where_they_are_not_very_many():
    assert carried({"a": 1, "b": 2}) == {"a": 1, "b": 2}


def test_of_very_many_those_of_the_event_and_the_largest_travel():
    counters = {f"type-{n}": n for n in range(2 * MAX_COUNTERS)}
    assert carried(counters, {"type-0"}) == {
        "type-0": 0,
        **{f"type-{n}": n for n in range(MAX_COUNTERS + 1, 2 * MAX_COUNTERS)},
    }


async def test_somebody_with_very_many_event_types_has_changes_that_others_can_hold():
    """One with 20,000 had none any more: each was too large, and half of all such in a row stop a partition for all."""
    driver = pipeline()
    types = [f"type-{n}" for n in range(2 * MAX_COUNTERS)]
    for begin in range(0, len(types), 100):
        driver.send(sent(*({"type": type} for type in types[begin : begin + 100])))
    driver.send(sent({"type": "type-7"}))
    await driver.run()
    last = driver.read(PROFILE_CHANGES)[-1]
    assert len(last.counters) == MAX_COUNTERS
    assert last.counters["type-7"] == 2
    assert driver.read(EVENTS_ACCEPTED)[-1].counters["type-7"] == 2
