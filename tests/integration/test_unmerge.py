"""Undoing a merge, on a real PostgreSQL, with every stage from identify to merge: both are as if it had not been."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from deploy.operations.identity import conflicts, find, why
from deploy.operations.merging import MergingError, plan_unmerge
from deploy.operations.merging import merge as merge_people
from deploy.operations.reports import profile_changes
from deploy.settings import Settings
from processors.steps.identify import identify
from processors.steps.merge import merge
from processors.steps.persist import persist
from processors.steps.route import route
from processors.steps.run_workflows import run_workflows
from processors.storage.claims import Claims
from processors.storage.consents import Consents
from processors.storage.database import Connect, Connection
from processors.storage.definitions import DefinitionStore
from processors.storage.erasures import Erasures
from processors.storage.events import Counters, Events
from processors.storage.identities import Identities
from processors.storage.measures import Measures
from processors.storage.memberships import SegmentMemberships
from processors.storage.merges import Merges
from processors.storage.parked import ParkedRuns
from processors.storage.partings import Partings
from processors.storage.profiles import Profiles
from processors.storage.runs import Runs, Traits
from processors.storage.windows import Windows
from schemas.events import AcceptedEvent, IdentifiedEvent, WorkflowRun
from schemas.profiles import MergeJob, SegmentationJob
from tests.unit.making import definitions, event, moment
from workflows.consent import Statement
from workflows.identity import ProfileIds

KEY = "the key of an installation"
VIP = frozenset({("vip", "workflow"), ("vip", "model")})
BODIES: tuple[dict[str, Any], ...] = (
    {"kind": "consent", "id": "ads"},
    {"kind": "namespace", "id": "user", "joins_identified": True},
    {
        "kind": "identification-point",
        "id": "p",
        "event_type": "view",
        "identifiers": [
            *({"namespace": name, "property": name} for name in ("user", "device")),
            {"namespace": "user", "context": "user_id"},
        ],
    },
    {
        "kind": "mapping",
        "id": "m",
        "event_type": "view",
        "set": {"city": "event.properties.city"},
        "append": {"seen": "event.properties.city"},
        "increment": {"spent": "event.properties.spent"},
    },
    {
        "kind": "workflow",
        "id": "vip",
        "nodes": {
            "in": {"action": "segment", "config": {"segment": "vip"}, "then": ["likely"]},
            "likely": {"action": "segment", "config": {"segment": "vip", "origin": "model"}},
        },
    },
    {"kind": "rule", "id": "r", "event_type": "view", "condition": "event.properties.spent > 7", "workflows": ["vip"]},
    {
        "kind": "workflow",
        "id": "cart",
        "nodes": {
            "pause": {"action": "wait", "config": {"seconds": 60}, "then": ["note", "buy"]},
            "note": {"action": "update-profile", "config": {"set": {"town": "event.properties.city"}}},
            "buy": {
                "action": "wait-for-event",
                "config": {"types": ["order"], "hours": 4},
                "then": {"came": ["bought"], "timeout": ["late"]},
            },
            "bought": {"action": "segment", "config": {"segment": "bought"}},
            "late": {"action": "segment", "config": {"segment": "late"}},
        },
    },
    {"kind": "rule", "id": "cart", "event_type": "cart", "workflows": ["cart"]},
)


@dataclass
class Stages:
    """identify to merge over one connection, an event a batch."""

    connection: Connection
    settings: Settings = field(default_factory=lambda: Settings(identity_key=KEY))
    number: int = 0
    ids: ProfileIds = field(default_factory=lambda: ProfileIds(KEY.encode()))
    #: How many events have one time, when Kafka took them: by how they follow one another they go then.
    together: int = 1
    #: Each event's id and what it holds.
    sent: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def see(
        self, session: str, type: str = "view", context: dict[str, Any] | None = None, **properties: Any
    ) -> str:
        """One event through all of them; its id."""
        self.number += 1
        properties = {"city": "Oslo", "spent": 1, **properties}
        at = moment(self.number - self.number % self.together)
        made = event(
            self.number,
            type=type,
            session=session,
            profile=self.ids.mint("session", "shop", session),
            occurred_at=at,
            received_at=at,
            properties=properties,
            context=context or {},
        )
        self.sent[made.id] = properties
        valid = msgspec.convert(made, IdentifiedEvent, from_attributes=True)
        c, known = self.connection, definitions(*BODIES)
        found = await identify([valid], 0, known, self.ids, Identities(c), Consents(c), Erasures(c), Traits(c))
        identified = [
            msgspec.convert(one, AcceptedEvent, from_attributes=True)
            for one in found
            if isinstance(one, IdentifiedEvent)
        ]
        accepted = await persist(
            identified, 0, Profiles(c), Events(c), Counters(c), Windows(c), Erasures(c), Measures(c), known
        )
        runs = await route([msgspec.convert(one, WorkflowRun, from_attributes=True) for one in accepted], known)
        found += await self.run([one for one in runs if isinstance(one, WorkflowRun)])
        await self.join([one for one in found if isinstance(one, MergeJob)])
        await c.commit()
        return made.id

    async def run(self, runs: list[WorkflowRun]) -> list[Any]:
        c = self.connection
        storage = Profiles(c), Runs(c), Traits(c), SegmentMemberships(c), ParkedRuns(c), Consents(c)
        return await run_workflows(runs, definitions(*BODIES), self.ids, *storage, lambda: moment(self.number))

    async def later(self, seconds: int) -> None:
        """So long afterwards: runs that had to wait for a time go on."""
        self.number += seconds
        await self.run(await ParkedRuns(self.connection).take_due(moment(self.number), 10))
        await self.connection.commit()

    async def join(self, jobs: list[MergeJob]) -> list[SegmentationJob]:
        c = self.connection
        return await merge(
            jobs, definitions(*BODIES), self.ids, Claims(c), Merges(c), Partings(c), Erasures(c), asyncio.Lock()
        )

    async def unmerge(self, profile: str) -> list[SegmentationJob]:
        job = MergeJob(profiles=[profile], cause="operator", namespace="operator", event="", act="part")
        jobs = await self.join([job])
        await self.connection.commit()
        return jobs

    async def live(self, name: str) -> str:
        return (await find(self.connection, self.settings, name)).live

    async def all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return await (await self.connection.execute(query.encode(), values)).fetchall()

    async def state(self, profile: str) -> dict[str, Any]:
        """What is stored of a live profile."""
        traits = (await Traits(self.connection).load([profile]))[profile]
        return {
            "traits": traits.values(),
            "totals": traits.totals,
            "counters": (await Counters(self.connection).load([profile]))[profile],
            "segments": await SegmentMemberships(self.connection).load([profile]),
            "events": {id for (id,) in await self.all(_EVENTS, profile)},
        }

    def expected(self, profile: str, events: list[str]) -> dict[str, Any]:
        """The same, of these events alone, the plain way."""
        held = [self.sent[id] for id in events]
        return {
            "traits": {"city": held[-1]["city"], "seen": sorted({one["city"] for one in held})},
            "totals": {"spent": sum((Decimal(one["spent"]) for one in held), Decimal(0))},
            "counters": {"view": len(held)},
            "segments": {profile: VIP if any(one["spent"] > 7 for one in held) else frozenset()},
            "events": set(events),
        }


_EVENTS = "select e.id from events e join profiles p on p.id = e.profile_id where coalesce(p.merged_into, p.id) = %s"


@pytest.fixture
async def stages(connect: Connect) -> Any:
    async with await connect() as connection:
        await DefinitionStore(connection).change({f"{body['kind']}/{body['id']}": body for body in BODIES}, "test")
        await connection.commit()
        yield Stages(connection)


@pytest.mark.parametrize("seed", range(4))
async def test_two_who_were_taken_for_one_are_again_what_they_would_have_been(stages: Stages, seed: int) -> None:
    """Both have sessions, log in, and come back in new browsers after a shared device has made one of them."""
    some = random.Random(seed)
    stages.together = 1 if seed < 2 else 7
    events: dict[str, list[str]] = {"ann": [], "bob": []}

    async def come(who: str, session: str, **shown: str) -> None:
        properties = {"city": some.choice(["Oslo", "Rome", "Bonn"]), "spent": some.randint(0, 9), **shown}
        events[who].append(await stages.see(f"{who}-{session}", **properties))

    async def visits(some_sessions: list[str]) -> None:
        todo = [(who, session) for who in events for session in some_sessions] * 2
        some.shuffle(todo)
        for who, session in todo:
            await come(who, session, **({"user": who} if some.random() < 0.5 else {}))
        for who in events:  # sooner or later everybody logs in everywhere
            for session in some_sessions:
                await come(who, session, user=who)

    await visits(["old", "older"])
    before = {await stages.live(f"user:{who}") for who in events}
    await come("ann", "old", device="kiosk", user="ann")
    await come("bob", "old", device="kiosk", user="bob")
    both = await stages.live("user:ann")
    assert await stages.live("user:bob") == both
    await visits(["new", "old", "newest"])
    assert (await stages.state(both))["counters"] == {"view": sum(map(len, events.values()))}

    (left,) = before - {both}
    plan = await plan_unmerge(stages.connection, stages.settings, left)
    assert plan is not None and plan.stayed == both
    assert await stages.live("user:bob") == await stages.live("user:ann"), "a plan changes nothing"
    jobs = await stages.unmerge(left)

    people = {who: await stages.live(f"user:{who}") for who in events}
    assert len(set(people.values())) == 2
    for who, profile in people.items():
        assert await stages.state(profile) == stages.expected(profile, events[who]), who
    assert set(people.values()) <= {job.profile for job in jobs}
    for who, profile in people.items():
        events[who].append(await stages.see(f"{who}-newest", spent=2))
        assert await stages.state(profile) == stages.expected(profile, events[who]), who


@pytest.mark.parametrize("seed", range(4))
async def test_three_who_were_merged_in_a_chain_come_apart_in_any_order(stages: Stages, seed: int) -> None:
    some = random.Random(seed)
    events: dict[str, list[str]] = {"ann": [], "bob": [], "cy": []}

    async def visits(sessions: str) -> None:
        for who in some.sample(list(events) * 2, 6):
            properties = {"city": some.choice(["Oslo", "Rome", "Bonn"]), "spent": some.randint(0, 9), "user": who}
            events[who].append(await stages.see(f"{who}-{some.choice(sessions)}", **properties))

    await visits("ab")
    alone = {await stages.live(f"user:{who}") for who in events}
    for number, pair in enumerate(some.sample([("ann", "bob"), ("bob", "cy")], 2)):
        for who in pair:
            events[who].append(await stages.see(f"{who}-a", user=who, device=f"kiosk-{number}", spent=3))
        await visits("bc")
    assert len({await stages.live(f"user:{who}") for who in events}) == 1

    merged = alone - {await stages.live("user:ann")}
    for left, people in zip(some.sample(sorted(merged), 2), (2, 3), strict=True):
        await stages.unmerge(left)
        await visits("ad")
        groups: dict[str, list[str]] = {}
        for who, ids in events.items():
            groups.setdefault(await stages.live(f"user:{who}"), []).extend(ids)
        assert len(groups) == people
        for profile, ids in groups.items():
            in_order = sorted(ids, key=lambda id: int(id.removeprefix("event-")))
            assert await stages.state(profile) == stages.expected(profile, in_order)


async def parted(stages: Stages) -> tuple[str, str]:
    """Ann and Bob, merged by a kiosk and parted again."""
    ann, bob = await stages.see("a", user="ann"), await stages.see("b", user="bob")
    assert ann != bob
    one, other = await stages.live("user:ann"), await stages.live("user:bob")
    await stages.see("a", device="kiosk")
    await stages.see("b", device="kiosk")
    assert await stages.live("user:bob") == one
    await stages.unmerge(other)
    return one, other


async def test_who_was_parted_stays_parted_until_an_operator_says_otherwise(stages: Stages) -> None:
    one, other = await parted(stages)
    await stages.see("b", device="kiosk")  # what had made them one
    assert (await stages.live("user:ann"), await stages.live("user:bob")) == (one, other)
    same, told = await why(stages.connection, stages.settings, "user:ann", "user:bob")
    assert not same
    assert any("an operator has parted them" in line for line in told)
    assert [row["reason"] for row in await conflicts(stages.connection, 5)] == ["kept_apart"]
    job = MergeJob(profiles=[one, other], cause="operator", namespace="operator", event="")
    await stages.join([job])
    assert await stages.live("user:bob") == one
    assert await stages.all("select * from kept_apart") == []
    assert (await why(stages.connection, stages.settings, "user:ann", "user:bob"))[0]


async def test_what_two_who_were_parted_share_leaves_each_who_they_are_and_a_login_is_whom_it_names(
    stages: Stages,
) -> None:
    one, other = await parted(stages)
    await stages.see("b", device="kiosk")  # the kiosk's is Ann's, the session Bob's
    assert [len((await stages.state(id))["events"]) for id in (one, other)] == [2, 3]
    await stages.see("a", user="bob")
    assert [len((await stages.state(id))["events"]) for id in (one, other)] == [2, 4]
    assert (await stages.live("user:ann"), await stages.live("user:bob")) == (one, other)


async def test_the_one_who_leaves_has_what_it_had_agreed_to_and_every_no_that_was_said_since(stages: Stages) -> None:
    await stages.see("a", user="ann")
    await stages.see("b", user="bob")
    one, other = await stages.live("user:ann"), await stages.live("user:bob")
    consents = Consents(stages.connection)
    await consents.store({(other, consent): Statement(True, moment(1), "e") for consent in ("ads", "mail")})
    await stages.see("a", device="kiosk")
    await stages.see("b", device="kiosk")
    await consents.store({(one, "mail"): Statement(False, moment(5), "later")})
    await stages.unmerge(other)
    said = await consents.load([one, other])
    assert {name: s.granted for name, s in said[other].items()} == {"ads": True, "mail": False}
    # The survivor never said yes to anything.
    assert {name: s.granted for name, s in said[one].items()} == {"mail": False, "ads": False}


async def test_a_refusal_that_the_leavers_grant_took_the_place_of_is_one_again(stages: Stages) -> None:
    one, other = await parted_later(stages)
    consents = Consents(stages.connection)
    await consents.store({(one, "ads"): Statement(False, moment(1), "ann's")})
    await stages.see("b", device="kiosk")
    yes = await stages.see("b", user="bob")
    await consents.store({(one, "ads"): Statement(True, moment(100), yes)})
    await stages.unmerge(other)
    assert not (await consents.load([one]))[one]["ads"].granted


async def parted_later(stages: Stages) -> tuple[str, str]:
    """Ann and Bob; she has used the kiosk."""
    await stages.see("a", user="ann", device="kiosk")
    await stages.see("b", user="bob")
    return await stages.live("user:ann"), await stages.live("user:bob")


async def test_who_has_said_something_and_is_merged_meanwhile_has_still_said_it(
    stages: Stages, connect: Connect
) -> None:
    """As identify reads: whose a session is, then what they have said."""
    _, bob = await parted_later(stages)
    await Consents(stages.connection).store({(bob, "ads"): Statement(False, moment(1), "e")})
    await stages.connection.commit()
    async with await connect() as identifying:
        found = await Identities(identifying).load([("shop", "b")], [], [])
        assert found.everybody() == {bob}
        await stages.see("b", device="kiosk")
        assert await stages.live("user:bob") != bob
        said = await Consents(identifying).load(found.everybody())
        assert {name: s.granted for name, s in said[bob].items()} == {"ads": False}


async def test_a_plan_changes_nothing_though_each_statement_commits(stages: Stages, connect: Connect) -> None:
    one, bob = await parted_later(stages)
    await stages.see("b", device="kiosk")
    before = await stages.state(one)
    await stages.connection.commit()
    async with await connect() as asking:
        await asking.set_autocommit(True)
        plan = await plan_unmerge(asking, stages.settings, bob)
    assert plan is not None and plan.events
    assert await stages.live("user:bob") == one
    assert await stages.state(one) == before


async def test_the_one_who_is_nobodys_part_cannot_be_parted(stages: Stages) -> None:
    await stages.see("a", user="ann")
    one = await stages.live("user:ann")
    assert await plan_unmerge(stages.connection, stages.settings, one) is None
    assert await stages.unmerge(one) == []


async def test_what_ran_before_the_change_log_was_kept_cannot_be_told_apart(stages: Stages) -> None:
    await stages.see("a", user="ann")
    await stages.see("b", user="bob", device="kiosk")
    other = await stages.live("user:bob")
    await stages.see("a", device="kiosk")
    await stages.connection.execute("update workflow_runs set changes = null")
    with pytest.raises(MergingError, match="before the change log"):
        await plan_unmerge(stages.connection, stages.settings, other)


async def test_the_change_log_tells_what_a_person_was_and_became(stages: Stages) -> None:
    await stages.see("a", user="ann", city="Oslo", spent=3)
    await stages.see("a", user="ann", city="Rome", spent=8)
    log = await profile_changes(stages.connection, await stages.live("user:ann"), 20)
    seen = Counter((row["field"], str(row["old"]), str(row["new"])) for row in log)
    assert seen == Counter(
        [
            ("traits.city", "None", "Oslo"),
            ("traits.city", "Oslo", "Rome"),
            ("traits.seen", "None", "Oslo"),
            ("traits.seen", "None", "Rome"),
            ("totals.spent", "None", "3"),
            ("totals.spent", "3", "11"),
            *[("segments.vip", "None", "True")] * len(VIP),
        ]
    )
    assert {row["event"] for row in log} == set(stages.sent)


async def test_who_is_not_known_cannot_be_merged(stages: Stages) -> None:
    with pytest.raises(LookupError):
        await merge_people(stages.connection, stages.settings, ["user:nobody", "user:ann"])


async def test_events_that_nothing_ran_for_go_with_whom_they_are_of_too(stages: Stages) -> None:
    await stages.see("a", user="ann")
    await stages.see("b", user="bob")
    one, other = await stages.live("user:ann"), await stages.live("user:bob")
    await stages.see("a", device="kiosk")
    await stages.see("b", device="kiosk")
    ids = [
        await stages.see("b", type="glance"),
        await stages.see("new", type="glance"),
        await stages.see("new", user="bob"),
    ]
    await stages.unmerge(other)
    assert set(ids) <= (await stages.state(other))["events"]
    assert (await stages.state(other))["counters"] == {"view": 3, "glance": 2}
    assert (await stages.state(one))["counters"] == {"view": 2}


async def test_a_login_in_the_context_of_an_event_says_whose_it_is(stages: Stages) -> None:
    """Where the libraries of Segment, RudderStack and PostHog have it."""
    one, other = await parted_later(stages)
    await stages.see("b", device="kiosk")
    ids = {await stages.see("new", context={"user_id": "bob"}), await stages.see("new")}
    hers = await stages.see("newer", context={"user_id": "ann"})
    await stages.unmerge(other)
    assert ids <= (await stages.state(other))["events"]
    assert hers in (await stages.state(one))["events"]
    assert await stages.all("select profile_id::text from sessions where id = 'new'") == [(other,)]


async def test_a_run_of_whoever_left_that_went_on_while_they_were_one_hears_their_events(stages: Stages) -> None:
    one, other = await parted_later(stages)
    await stages.see("b", type="cart")
    await stages.see("b", device="kiosk")
    assert await stages.live("user:bob") == one
    await stages.later(60)
    await stages.unmerge(other)
    await stages.see("a", type="order")
    await stages.see("b", type="order")
    segments = await SegmentMemberships(stages.connection).load([one, other])
    assert segments == {one: frozenset(), other: frozenset({("bought", "workflow")})}


async def test_nothing_of_whoever_left_stays_in_what_is_kept_of_the_others_changes(stages: Stages) -> None:
    """While they were one, her value took the place of his; a total was of both."""
    one, other = await parted_later(stages)
    await stages.see("a", type="cart", city="Bonn")
    await stages.see("b", type="cart", city="his secret town")
    await stages.see("b", device="kiosk", city="his secret", spent=1000)
    assert await stages.live("user:bob") == one
    await stages.see("a", user="ann", city="Bonn", spent=2)
    await stages.later(60)
    await stages.unmerge(other)
    log = [(row["field"], row["old"], row["new"]) for row in await profile_changes(stages.connection, one, 20)]
    assert [one for one in log if one[0] != "traits.seen"] == [
        ("traits.town", None, "Bonn"),
        ("traits.city", "Oslo", "Bonn"),
        ("totals.spent", "1", "3"),
        ("traits.city", None, "Oslo"),
        ("totals.spent", None, "1"),
    ]
    (his,) = [row for row in await profile_changes(stages.connection, other, 20) if row["field"] == "traits.town"]
    assert (his["old"], his["new"]) == (None, "his secret town"), "she had set hers a moment before"
    job = MergeJob(profiles=[other], cause="operator", namespace="operator", event="request", act="erase")
    await stages.join([job])
    kept = await stages.all("select changes::text from run_changes")
    assert kept and not any("secret" in changes or "100" in changes for (changes,) in kept)


async def test_what_a_third_one_was_before_a_merge_does_not_hold_the_values_of_whoever_left(stages: Stages) -> None:
    for who in ("cy", "ann", "bob"):  # the oldest survives
        await stages.see(who, user=who, city="Lima" if who == "bob" else "Oslo")
    bob = await stages.live("user:bob")
    for who, device in (("ann", "kiosk"), ("bob", "kiosk"), ("ann", "library"), ("cy", "library")):
        await stages.see(who, user=who, device=device)
    kept = "select before::text from merges where undone_at is null"
    assert any("Lima" in before for (before,) in await stages.all(kept))
    await stages.unmerge(bob)
    assert [before for (before,) in await stages.all(kept) if "Lima" in before] == []


async def test_a_browser_in_which_whoever_left_had_logged_in_at_once_goes_with_them(stages: Stages) -> None:
    """Its profile has no event of its own: each began its life with a login, Bob's or Ann's."""
    one, other = await parted_later(stages)
    await stages.see("b", device="kiosk")
    assert await stages.live("user:bob") == one
    await stages.see("his new one", user="bob")
    await stages.see("her new one", user="ann")
    await stages.unmerge(other)
    his, hers = (stages.ids.mint("session", "shop", session) for session in ("his new one", "her new one"))
    assert (await stages.live(his), await stages.live(hers)) == (other, one)


async def test_nothing_is_lost_where_one_who_goes_had_absorbed_one_who_stays(stages: Stages) -> None:
    """A browser of Bob's, of which he says so later, had become one with another, of which nobody ever says it."""
    one, other = await parted_later(stages)
    await stages.see("b", device="kiosk")
    first = await stages.see("his", city="Rome", spent=4)
    unknown = await stages.see("whose", city="Bonn", spent=1000)
    his, whose = (stages.ids.mint("session", "shop", session) for session in ("his", "whose"))
    operator = {"cause": "operator", "namespace": "operator", "event": ""}
    await stages.join([MergeJob(profiles=[his, whose], **operator)])
    login = await stages.see("his", user="bob")
    last = await stages.see("a", user="ann", city="Kiel", spent=16)
    assert {await stages.live(name) for name in ("user:ann", "user:bob", his, whose)} == {one}

    await stages.unmerge(other)
    assert await stages.state(one) == stages.expected(one, ["event-1", unknown, last])
    assert await stages.state(other) == stages.expected(other, ["event-2", "event-3", first, login])
    assert (await stages.live(his), await stages.live(whose)) == (other, one)
    await stages.unmerge(his)
    assert (await stages.live(his), await stages.live(whose)) == (his, one)


async def test_who_was_parted_joined_others_and_was_merged_again_is_kept_apart_from_nobody(stages: Stages) -> None:
    oldest = await stages.see("x", user="zoe") and await stages.live("user:zoe")
    one, other = await parted(stages)
    operator = {"cause": "operator", "namespace": "operator", "event": ""}
    await stages.join([MergeJob(profiles=[oldest, other], **operator)])
    await stages.join([MergeJob(profiles=[oldest, one], **operator)])
    assert await stages.all("select * from kept_apart") == []
    await stages.see("y", user="ann")
    assert await stages.live("user:ann") == oldest
    assert await stages.all("select * from merge_conflicts") == []
