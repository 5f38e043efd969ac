"""Ids that follow from where an event came from."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from schemas.origin import NAMESPACE, Origin, derived_id, event_id_of

origins = st.builds(Origin, st.integers(0, 20), st.integers(0, 200), st.integers(0, 20))


@given(origins, origins)
def test_an_event_without_an_id_gets_one_that_belongs_to_its_place_alone(one: Origin, other: Origin):
    assert (event_id_of(one) == event_id_of(other)) == (one == other)


def test_ids_stay_the_same_from_release_to_release():
    """They are stored, and a replay must make them again."""
    assert str(NAMESPACE) == "6b1d0a52-1f0f-5c7e-9d6f-2f6c0f8f3a11"
    assert event_id_of(Origin(3, 41, 1)) == "0709765c-fdf0-5b4c-9231-971f40d771dc"


def test_derived_ids_are_uuids_and_depend_on_each_part():
    assert UUID(derived_id("a", 1)).version == 5
    assert (
        len({derived_id("a", 1), derived_id("a", 2), derived_id("b", 1), derived_id("a1"), derived_id("a", 1, "")}) == 5
    )


def test_origins_sort_as_their_events_came():
    assert sorted([Origin(0, 10, 0), Origin(0, 9, 5), Origin(0, 9, 12)]) == [
        Origin(0, 9, 5),
        Origin(0, 9, 12),
        Origin(0, 10, 0),
    ]
    assert str(Origin(1, 2, -1)) == "1/2/-1"
