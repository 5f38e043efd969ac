"""The checker can fail: each way in which a pipeline can lie is seen, and named by its invariant. No servers."""

import copy
import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.check import check
from tests.faults.ledger import Ledger, Sent, read_ledger
from tests.faults.observed import Call, Observed, Profile, Recorded, Said, Tracked
from tests.faults.oracle import Expected, expect
from tests.faults.visits import Visits

ONE, TWO = "profile-one", "profile-two"


def event(id: str, type: str, **properties: Any) -> dict[str, Any]:
    return {"id": id, "type": type, "timestamp": f"2026-01-05T00:00:0{id[-1]}+00:00", "properties": properties}


PAYLOADS = {
    "a": [event("a.1", "purchase", amount=2, seq=1), event("a.2", "login", member="m", watched="yes")],
    "b": [event("b.1", "login", member="m"), event("b.2", "purchase", amount=3, seq=2), event("b.3", "alert", name="")],
    "c": [event("c.1", "page-view"), event("c.2", "purchase", amount="much", seq=2)],
}
LEDGER = [
    Sent(name, json.dumps({"session": {"id": name}, "events": events}), ("ok",)) for name, events in PAYLOADS.items()
]


@pytest.fixture
def expected() -> Expected:
    return expect(LEDGER, {event["id"] for events in PAYLOADS.values() for event in events})


@pytest.fixture
def observed() -> Observed:
    """What a pipeline without faults has made of the ledger."""
    owners = {"a": ONE, "b": ONE, "c": TWO}
    ids = [event["id"] for events in PAYLOADS.values() for event in events]
    good = [id for id in ids if id != "c.2"]
    types = {event["id"]: event["type"] for events in PAYLOADS.values() for event in events}
    one = Profile(ONE, {"purchase": 2, "login": 2, "alert": 1, "alert-noted": 1}, 5, 2, True, set(), 3)
    two = Profile(TWO, {"page-view": 1}, 0, None, False, set(), 1)
    digests = [hashlib.sha256(name.encode()).digest() for name in [*PAYLOADS, "emitted"]]
    tracks = [
        Tracked(0, offset, digest, tuple(event["id"] for event in events) if events else ("emitted",))
        for offset, (digest, events) in enumerate(zip(digests, [*PAYLOADS.values(), []], strict=True))
    ]
    recorded = [Recorded(id, types[id], id[0], owners[id[0]], (0, "abc".index(id[0]), int(id[-1]) - 1)) for id in good]
    recorded.append(Recorded("emitted", "alert-noted", "b", ONE, (0, 3, 0), name="b.3"))
    calls = [
        Call("k1", ONE, 2, "{}", purchases=1, amount=2),
        Call("k2", ONE, 3, "{v3}", purchases=2, amount=5),
        Call("k3", ONE, 3, "{alert}", name="b.3"),
    ]
    return Observed(
        recorded=recorded,
        tracks=tracks,
        archived={(0, offset): {digest} for offset, digest in enumerate(digests)},
        profiles={ONE: one, TWO: two},
        sessions=owners,
        identifiers={("member", "m"): ONE},
        runs=Counter(good),
        rejected=Counter(["c.2"]),
        accounting={"shop": {"accepted": 8, "recorded": 7, "duplicates": 0, "rejected": 1, "dead_letters": 0}},
        order={"events-valid": [(0, id) for id in good]},
        said={p.id: Said(p.version, p.counters, p.amount, p.last, frozenset(), None) for p in (one, two)},
        calls=calls,
    )


def test_a_run_in_which_nothing_went_wrong_has_no_violations(expected: Expected, observed: Observed) -> None:
    assert check(expected, observed).words == {}


def lose(observed: Observed) -> None:
    observed.recorded.pop(0)


def invent(observed: Observed) -> None:
    observed.recorded.append(dataclasses.replace(observed.recorded[0], id="x.1"))


def double(observed: Observed) -> None:
    observed.recorded.append(observed.recorded[0])


def reuse(observed: Observed) -> None:
    observed.recorded[0] = dataclasses.replace(observed.recorded[0], reused=True)


def miscount(observed: Observed) -> None:
    observed.profiles[ONE].counters["purchase"] += 1


def add_twice(observed: Observed) -> None:
    observed.profiles[ONE].amount += 3


def keep_the_wrong_value(observed: Observed) -> None:
    observed.profiles[ONE].last = 1


def swap(observed: Observed) -> None:
    observed.order["events-valid"][:2] = reversed(observed.order["events-valid"][:2])


def split(observed: Observed) -> None:
    observed.sessions["b"] = TWO


def point_far(observed: Observed) -> None:
    observed.far_pointers.append("profile-three")


def join_a_segment(observed: Observed) -> None:
    observed.profiles[ONE].segments.add("frequent")


def say_less(observed: Observed) -> None:
    observed.said[ONE] = dataclasses.replace(observed.said[ONE], version=2)


def say_other(observed: Observed) -> None:
    observed.said[ONE] = dataclasses.replace(observed.said[ONE], amount=4)


def forget_to_deliver(observed: Observed) -> None:
    observed.calls = [call for call in observed.calls or () if call.key != "k2"]


def deliver_backwards(observed: Observed) -> None:
    observed.calls = [Call("k0", ONE, 9, "{}"), *(observed.calls or ())]


def run_again(observed: Observed) -> None:
    observed.runs["a.1"] += 1


def tell_under_another_key(observed: Observed) -> None:
    observed.calls = [*(observed.calls or ()), Call("k9", ONE, 3, "{alert}", name="b.3")]


def change_a_body(observed: Observed) -> None:
    observed.calls = [*(observed.calls or ()), Call("k3", ONE, 3, "{other}", name="b.3")]


def drop_silently(observed: Observed) -> None:
    observed.accounting["shop"]["rejected"] = 0


def misplace_bytes(observed: Observed) -> None:
    assert observed.archived is not None
    observed.archived[0, 0] = {b"other"}


def archive_a_gap(observed: Observed) -> None:
    assert observed.archived is not None
    del observed.archived[0, 1]


def talk(observed: Observed) -> None:
    observed.bad_lines.append("persist.log: canary")


@pytest.mark.parametrize(
    ("harm", "invariant"),
    [
        (lose, "I1"),
        (invent, "I2"),
        (double, "I3"),
        (reuse, "I3"),
        (miscount, "I4"),
        (add_twice, "I4"),
        (keep_the_wrong_value, "I4"),
        (swap, "I5"),
        (split, "I6"),
        (point_far, "I6"),
        (join_a_segment, "I7"),
        (say_less, "I8"),
        (say_other, "I8"),
        (forget_to_deliver, "I8"),
        (deliver_backwards, "I8"),
        (run_again, "I9"),
        (tell_under_another_key, "I9"),
        (change_a_body, "I9"),
        (drop_silently, "I10"),
        (misplace_bytes, "I11"),
        (archive_a_gap, "I11"),
        (talk, "I17"),
    ],
)
def test_every_harm_is_seen(
    expected: Expected, observed: Observed, harm: Callable[[Observed], None], invariant: str
) -> None:
    harmed = copy.deepcopy(observed)
    harm(harmed)
    assert invariant in check(expected, harmed).words


def test_what_was_repeated_where_the_session_is_another_profiles_is_not_out_of_order(
    expected: Expected, observed: Observed
) -> None:
    observed.order["events-identified"] = [(0, "b.2"), (0, "b.3"), (0, "b.1"), (1, "b.1")]
    assert check(expected, observed).words == {}
    observed.order["events-identified"].pop()
    assert "I5" in check(expected, observed).words


def test_what_was_never_acknowledged_may_be_there_or_not(observed: Observed) -> None:
    unknown = [dataclasses.replace(LEDGER[2], outcomes=("unknown",)), *LEDGER[:2]]
    assert check(expect(unknown, set(observed.landed())), observed).words == {}
    refused = [dataclasses.replace(LEDGER[2], outcomes=("fail",)), *LEDGER[:2]]
    assert "I2" in check(expect(refused, set(observed.landed())), observed).words


def test_people_are_joined_by_what_they_share(expected: Expected) -> None:
    assert sorted(sorted(person.sessions) for person in expected.persons) == [["a", "b"], ["c"]]


def test_the_ledger_gives_back_what_was_noted_and_no_half_line(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    ledger.intend("one", "{}")
    ledger.answer("one", "unknown", 503)
    ledger.resend("one")
    ledger.answer("one", "ok", 200)
    ledger.intend("two", "[]")
    ledger.close()
    with ledger.path.open("ab") as file:
        file.write(b'{"ok":"tw')
    one, two = read_ledger(ledger.path)
    assert (one.body, one.outcomes, one.acknowledged) == ("{}", ("unknown", "ok"), True)
    assert (two.body, two.outcomes, two.acknowledged, two.possible) == ("[]", (), False, True)


def test_the_same_seed_makes_the_same_visits() -> None:
    def bodies(seed: int) -> list[str]:
        visits = Visits(seed)
        found = []
        for _ in range(200):
            session, payload = visits.take()
            visits.give_back(session)
            found.append(payload.body)
        return found

    assert bodies(1) == bodies(1) != bodies(2)
