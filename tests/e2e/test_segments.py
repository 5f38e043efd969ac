"""Segments of people who are known already: back-filled when they change, counted over windows, left as time passes."""

import asyncio
import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from deploy.operations import applying
from deploy.operations.applying import apply_folder
from tests.conftest import MakeInstallation
from tests.kit.definitions import payload
from tests.kit.installation import Installation
from tests.kit.waiting import until

STAGES = ("validate", "identify", "persist", "route", "run-workflows", "segment")
SOURCE = "{kind: source, id: shop}"
#: How many pages each session looks at.
VIEWS = {f"s{number}": number for number in range(1, 7)}


@pytest.fixture(scope="module")
def shop(make_shared_installation: MakeInstallation) -> Installation:
    installation = make_shared_installation(SOURCE)
    installation.start(*STAGES)
    installation.start_door()
    for session, views in VIEWS.items():
        view(installation, session, views)
    installation.wait_through()
    return installation


_numbers = itertools.count()


def view(shop: Installation, session: str, times: int) -> None:
    events = [{"type": "page-view", "id": f"e{next(_numbers)}"} for _ in range(times)]
    assert shop.track(payload("shop", *events, session=session)).status_code == 200


def define(shop: Installation, *documents: str) -> None:
    shop.apply("\n---\n".join([SOURCE, *documents]))
    shop.wait_through()


def members(shop: Installation, segment: str) -> set[str]:
    """The sessions whose profiles are in the segment."""
    query = (
        "select s.id from memberships m join sessions s on s.profile_id = m.profile_id "
        "where m.segment = %s and m.origin = 'rule'"
    )
    return {session for (session,) in shop.sql(query, segment)}


def changes(shop: Installation) -> list[dict[str, Any]]:
    """What was said of profiles, in order; what was sent again counts once."""
    return list({(change["profile"], change["version"]): change for change in shop.bodies("profile-changes")}.values())


def said(shop: Installation, what: str, segment: str) -> list[str]:
    """The profiles of which it was said that they entered, or left, in order."""
    return [change["profile"] for change in changes(shop) if segment in change.get(what, ())]


def test_a_new_segment_takes_in_who_is_known_already_and_a_changed_one_lets_them_go(shop: Installation) -> None:
    before = len(changes(shop))
    define(shop, "{kind: segment, id: many, condition: 'profile.counters[\"page-view\"] > 3'}")
    assert members(shop, "many") == {"s4", "s5", "s6"}
    assert len(said(shop, "entered", "many")) == 3
    # Nothing is said of who is not concerned.
    assert len(changes(shop)) == before + 3
    define(shop, "{kind: segment, id: many, condition: 'profile.counters[\"page-view\"] > 4'}")
    assert members(shop, "many") == {"s5", "s6"}
    assert len(said(shop, "left", "many")) == 1
    define(shop, "{kind: segment, id: many, enabled: false}")
    assert members(shop, "many") == set()
    assert len(said(shop, "left", "many")) == 3


def test_a_new_window_counts_what_was_recorded_before_and_what_comes_and_forgets_it_in_time(shop: Installation) -> None:
    window = "{kind: window, id: views_7d, event_type: page-view, days: 7}"
    define(shop, window, "{kind: segment, id: lately, condition: profile.windows.views_7d >= 5}")
    assert members(shop, "lately") == {"s5", "s6"}
    view(shop, "s4", 1)
    shop.wait_through()
    assert members(shop, "lately") == {"s4", "s5", "s6"}
    # What windows count is what the events say.
    counted = dict(shop.sql("select profile_id::text, sum(count) from profile_days group by 1"))
    recorded = dict(shop.sql("select profile_id::text, count(*) from events group by 1"))
    assert counted == recorded
    # Ten days pass for one of them.
    (profile,) = shop.sql("select profile_id::text from sessions where id = 's6'")[0]
    with psycopg.connect(shop.database_url, autocommit=True) as connection:
        connection.execute("update profile_days set day = day - 10 where profile_id = %s", (profile,))
        connection.execute("update segment_timers set due_at = now() where profile_id = %s", (profile,))
    until(lambda: members(shop, "lately") == {"s4", "s5"}, 20, shop.tell)
    shop.wait_through()
    assert said(shop, "left", "lately") == [profile]


def test_memberships_are_those_of_a_recomputation(shop: Installation) -> None:
    define(shop, "{kind: segment, id: odd, condition: 'profile.counters[\"page-view\"] in [1, 3, 5, 7]'}")
    for session in ("s1", "s2", "s6"):
        view(shop, session, 1)
    shop.wait_through()
    counts = dict(
        shop.sql(
            "select s.id, c.count from sessions s join profile_counters c on c.profile_id = s.profile_id "
            "and c.type = 'page-view'"
        )
    )
    assert members(shop, "odd") == {session for session, count in counts.items() if count % 2}


class Crash(Exception):
    """Of an `apply`, in its middle."""


def apply_folder_of(shop: Installation, folder: Path, progress: Callable[[str], None]) -> bool:
    return asyncio.run(apply_folder(shop.settings, folder, False, lambda lines: True, progress))


def test_an_apply_that_crashed_after_its_definitions_were_in_force_is_finished_by_the_next(
    shop: Installation, tmp_path: Path
) -> None:
    (tmp_path / "all.yaml").write_text(
        SOURCE + "\n---\n{kind: segment, id: once, condition: 'profile.counters[\"page-view\"] > 0'}"
    )

    async def crash(*_: Any) -> None:
        raise Crash

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Crash):
        patch.setattr(applying, "claim_traits", crash)  # what comes once the definitions are in force
        apply_folder_of(shop, tmp_path, lambda line: None)
    said: list[str] = []
    assert not apply_folder_of(shop, tmp_path, said.append), "nothing is to be changed any more"
    assert any(line.startswith("sent") for line in said)
    shop.wait_through()
    assert members(shop, "once") == VIEWS.keys()
    said.clear()
    apply_folder_of(shop, tmp_path, said.append)
    assert said == []


def test_two_applies_at_once_take_turns(shop: Installation, tmp_path: Path) -> None:
    for name, days in (("first", 3), ("second", 5)):
        (tmp_path / name).mkdir()
        window = f"{{kind: window, id: {name}, event_type: {name}, days: {days}}}"
        (tmp_path / name / "all.yaml").write_text(f"{SOURCE}\n---\n{window}")
    begun, waits = threading.Event(), threading.Event()

    def slowly(line: str) -> None:
        begun.set()
        assert waits.wait(30)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(apply_folder_of, shop, tmp_path / "first", slowly)
        assert begun.wait(30)
        second = pool.submit(apply_folder_of, shop, tmp_path / "second", lambda line: waits.set())
        assert first.result(60)
        assert second.result(60)
    types = shop.sql("select type from windowed_types where type in ('first', 'second') order by type")
    assert types == [("first",), ("second",)]
