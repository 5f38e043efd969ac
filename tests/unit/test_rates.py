"""How much may come in a while: against a count of what was let through."""

from hypothesis import given
from hypothesis import strategies as st

from ingest.rates import MAX_KNOWN, Rates
from schemas.definitions.inbound import Rate


def test_so_many_may_come_at_once_and_then_one_after_the_other():
    rates, rate = Rates(), Rate(per_second=2, burst=5)
    assert [rates.take({"a": rate}, 1, 0.0) for _ in range(6)] == [0, 0, 0, 0, 0, 1]
    assert rates.take({"a": rate}, 1, 0.5) == 0
    assert rates.take({"a": rate}, 1, 0.6) == 1
    assert rates.take({"b": rate}, 1, 0.6) == 0


def test_a_batch_above_the_rate_is_taken_and_paid_for_afterwards():
    rates, rate = Rates(), Rate(per_second=10)
    assert rates.take({"a": rate}, 500, 0.0) == 0
    assert rates.take({"a": rate}, 1, 1.0) == 49
    assert rates.take({"a": rate}, 1, 50.0) == 0


def test_who_is_refused_for_the_rate_of_all_has_not_used_up_its_own_meanwhile():
    rates, own, of_all = Rates(), Rate(per_second=1, burst=2), Rate(per_second=1, burst=1)
    assert rates.take({"others": own, "all": of_all}, 2, 0.0) == 0
    assert [rates.take({"a": own, "all": of_all}, 1, 1.0) for _ in range(5)] == [1] * 5
    assert rates.take({"a": own, "all": of_all}, 1, 2.0) == 0
    assert rates.take({"a": own}, 1, 2.0) == 0


def test_who_has_used_up_its_own_rate_uses_up_nothing_of_all_others():
    rates, own, of_all = Rates(), Rate(per_second=1, burst=1), Rate(per_second=1, burst=2)
    assert [rates.take({"a": own, "all": of_all}, 1, 0.0) for _ in range(5)] == [0, 1, 1, 1, 1]
    assert rates.take({"b": own, "all": of_all}, 1, 0.0) == 0


@given(st.floats(0.1, 100), st.integers(1, 50), st.lists(st.tuples(st.floats(0, 3), st.integers(1, 5)), max_size=100))
def test_over_any_time_no_more_comes_through_than_the_rate_the_burst_and_one_batch(
    per_second: float, burst: int, tries: list[tuple[float, int]]
):
    rates, rate, now, taken = Rates(), Rate(per_second=per_second, burst=burst), 0.0, 0
    for pause, events in tries:
        now += pause
        wait = rates.take({"a": rate}, events, now)
        taken += 0 if wait else events
        assert taken <= per_second * now + burst + 5 + 1e-6
        if wait:  # who waits as long as it is told is let in
            assert rates.take({"a": rate}, 0, now + wait) == 0


def test_who_was_quiet_the_longest_is_forgotten_first():
    rates, rate = Rates(), Rate(per_second=1, burst=1)
    for number in range(MAX_KNOWN + 1):
        rates.take({number: rate}, 1, 0.0)
    assert rates.take({0: rate}, 1, 0.0) == 0
    assert rates.take({MAX_KNOWN: rate}, 1, 0.0) == 1
