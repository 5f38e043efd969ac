"""The identity graph on a real PostgreSQL: identify and merge as they run, and what `headwater identity` says of it."""

import asyncio
import json
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from deploy.operations.exporting import export
from deploy.operations.identity import conflicts, find, why
from deploy.operations.merging import plan_merge
from deploy.operations.status import accounting
from deploy.settings import Settings
from processors.runner.failures import Unavailable
from processors.steps.identify import identify
from processors.steps.merge import merge
from processors.storage.claims import Claims
from processors.storage.consents import Consents
from processors.storage.database import Connect, Connection
from processors.storage.definitions import DefinitionStore
from processors.storage.erasures import Erasures
from processors.storage.identities import Identities
from processors.storage.merges import Merges
from processors.storage.partings import Partings
from processors.storage.replayed import Replayed
from processors.storage.runs import Traits
from schemas.definitions import DEFINITION
from schemas.events import IdentifiedEvent
from schemas.origin import Origin
from schemas.profiles import MergeJob
from tests.integration.test_profile_locks import until_one_waits
from tests.unit.making import EPOCH, definitions, event
from workflows.consent import Statement
from workflows.definitions import Definitions
from workflows.identity import ProfileIds
from workflows.profile import ProfileState, Trait

KEY = "the key of an installation"
BODIES: tuple[dict[str, Any], ...] = (
    {"kind": "namespace", "id": "customer", "unique": True},
    {"kind": "namespace", "id": "passport", "unique": True},
    {"kind": "namespace", "id": "mail", "normalise": "email", "hashed": True},
    {"kind": "namespace", "id": "device", "max_per_profile": 1},
    {
        "kind": "identification-point",
        "id": "p",
        "event_type": "page-view",
        "identifiers": [{"namespace": name, "property": name} for name in ("customer", "passport", "mail", "device")],
    },
    {
        "kind": "identification-point",
        "id": "login",
        "event_type": "login",
        "verified": True,
        "identifiers": [{"namespace": "mail", "property": "mail"}],
    },
)


@dataclass
class Graph:
    """identify and merge over one connection, a batch a call."""

    connection: Connection
    known: Definitions
    settings: Settings
    events: int = 0
    jobs: list[MergeJob] = field(default_factory=list)

    async def see(
        self, session: str, type: str = "page-view", at: float = 0, occurred: float = 0, **properties: Any
    ) -> str:
        """An event; whose it is."""
        self.events += 1
        ids = ProfileIds(KEY.encode())
        sent = event(
            self.events,
            type=type,
            session=session,
            profile=ids.mint("session", "shop", session),
            received_at=EPOCH + timedelta(seconds=at or self.events),
            occurred_at=EPOCH + timedelta(seconds=occurred or self.events),
            properties=properties,
        )
        valid = msgspec.convert(sent, IdentifiedEvent, from_attributes=True)
        identified, *jobs = await identify(
            [valid],
            0,
            self.known,
            ids,
            Identities(self.connection),
            Consents(self.connection),
            Erasures(self.connection),
            Traits(self.connection),
        )
        self.jobs += [job for job in jobs if isinstance(job, MergeJob)]
        return str(identified.profile)

    async def join(self) -> None:
        """Carry out the merges that were asked for."""
        ids, c = ProfileIds(KEY.encode()), self.connection
        await merge(self.jobs, self.known, ids, Claims(c), Merges(c), Partings(c), Erasures(c), asyncio.Lock())
        self.jobs = []

    async def why(self, one: str, other: str) -> tuple[bool, str]:
        same, sentences = await why(self.connection, self.settings, one, other)
        return same, " ".join(sentences)

    async def row(self, query: str) -> tuple[Any, ...]:
        row = await (await self.connection.execute(query.encode())).fetchone()
        assert row is not None
        return row


@pytest.fixture
async def graph(connect: Connect) -> Any:
    async with await connect() as connection:
        await DefinitionStore(connection).change({f"{body['kind']}/{body['id']}": body for body in BODIES}, "test")
        await connection.commit()
        yield Graph(connection, definitions(*BODIES), Settings(identity_key=KEY))


async def test_a_merge_is_explained_from_either_end_by_the_event_that_caused_it(graph: Graph) -> None:
    one, other = await graph.see("s1"), await graph.see("s2")
    assert (await graph.why(one, other))[0] is False
    assert "Nothing that was seen ties them together" in (await graph.why(one, other))[1]
    await graph.see("s1", customer="7")
    await graph.see("s2", customer="7")
    await graph.join()
    for names in ((one, other), (other, one), (other, "customer:7")):
        same, told = await graph.why(*names)
        assert same
        assert f"{other} became part of {one}, because event event-4 showed a value of customer" in told
    assert await graph.why("customer:7", one) == (
        True,
        f"They are one profile, {one}. Both were linked to it directly.",
    )


async def test_a_merge_that_a_replay_without_effects_made_stays_quiet_whatever_is_merged_beside_it(
    graph: Graph,
) -> None:
    a, b, c, d, e = [await graph.see(session) for session in "abcde"]
    known, own = graph.known, graph.connection
    tools = Claims(own), Merges(own), Partings(own), Erasures(own), asyncio.Lock()
    jobs = [
        MergeJob(profiles=pair, cause="operator", namespace="operator", event="", quiet=quiet)
        for pair, quiet in (([a, b], True), ([c, d], True), ([d, e], False))
    ]
    told = await merge(jobs, known, ProfileIds(KEY.encode()), *tools)
    assert {job.profile for job in told if job.quiet} == {a, b}
    assert {job.profile for job in told if not job.quiet} == {c, d, e}, "of these, one was merged just now"


async def test_a_chain_of_merges_is_told_step_by_step(graph: Graph) -> None:
    one, two, three = await graph.see("s1", device="d"), await graph.see("s2"), await graph.see("s3", customer="7")
    await graph.see("s2", customer="7")
    await graph.join()  # three into two
    await graph.see("s2", device="d")
    await graph.join()  # two into one
    same, told = await graph.why(three, one)
    first, second = told.index(f"{three} became part of {two}"), told.index(f"{two} became part of {one}")
    assert same
    assert first < second
    assert (await find(graph.connection, graph.settings, three)).live == one


async def test_two_people_are_two_for_a_reason_that_is_told_and_listed(graph: Graph) -> None:
    await graph.see("s1", customer="7", mail="family@example.org")
    await graph.see("s2", customer="8", mail="Family@Example.ORG")
    await graph.join()
    same, told = await graph.why("customer:7", "customer:8")
    assert not same
    assert "event event-2 tied them together by mail, and they were not merged" in told
    assert "different values in the unique namespace customer" in told
    await graph.see("s4", passport="y")
    await graph.see("s4", passport="y", mail="other@example.org")
    await graph.see("s1", customer="7", mail="other@example.org")
    await graph.join()
    same, told = await graph.why("customer:7", "passport:y")
    assert not same
    assert "both were identified already, and mail is too weak" in told
    listed = await conflicts(graph.connection, 10)
    assert {one["reason"] for one in listed} == {"unique", "both_identified"}


async def test_what_is_verified_at_both_ends_joins_two_who_are_identified(graph: Graph) -> None:
    await graph.see("s1", customer="7")
    await graph.see("s1", type="login", mail="a@example.org")
    await graph.see("s2", passport="x")
    await graph.see("s2", type="login", mail="a@example.org")
    await graph.join()
    assert (await graph.why("customer:7", "passport:x"))[0] is True


async def test_who_logs_in_as_another_is_another_and_nothing_of_them_is_mixed(graph: Graph) -> None:
    seven = await graph.see("s1", customer="7")
    eight = await graph.see("s1", customer="8")
    assert seven != eight == await graph.see("s1")
    assert await graph.row(f"select count(*) from identifiers where profile_id = '{seven}'") == (1,)
    assert await graph.see("s2", customer="7") == seven
    await graph.join()
    assert (await graph.why("customer:7", "customer:8"))[0] is False


async def test_a_hashed_namespace_holds_no_value_and_is_found_by_it_all_the_same(graph: Graph) -> None:
    profile = await graph.see("s1", mail="Ada@Example.org ")
    (value,) = await graph.row("select value from identifiers")
    assert "ada" not in value
    assert (await find(graph.connection, graph.settings, "mail: ADA@example.org")).live == profile
    with pytest.raises(LookupError):
        await find(graph.connection, graph.settings, "mail:bob@example.org")


async def test_an_identifier_knows_when_it_was_seen_first_and_last_whatever_the_order(graph: Graph) -> None:
    for at, type in ((7200, "page-view"), (100, "login"), (90_000, "page-view"), (50, "page-view")):
        await graph.see("s1", type=type, at=at, mail="a@example.org")
    first, last, verified = await graph.row("select linked_at, last_seen, verified from identifiers")
    assert (first, last, verified) == (EPOCH + timedelta(seconds=50), EPOCH + timedelta(hours=25), True)


async def test_an_identifier_too_many_is_not_linked_and_listed(graph: Graph) -> None:
    mine = await graph.see("s1", device="one")
    assert await graph.see("s1", device="two") == mine
    assert await graph.see("s2", device="two") != mine
    (refused,) = await conflicts(graph.connection, 10)
    assert (refused["what"], refused["reason"], refused["namespace"]) == (
        "identifier",
        "too_many_identifiers",
        "device",
    )
    assert refused["profiles"] == [mine]


async def test_a_workflow_claims_no_second_value_where_a_person_has_one(graph: Graph) -> None:
    mine, other = await graph.see("s1", customer="7"), await graph.see("s2", customer="8")
    asked = {"cause": "workflow", "namespace": "customer", "event": "e"}
    graph.jobs = [MergeJob(profiles=[mine], value="9", **asked), MergeJob(profiles=[mine], value="8", **asked)]
    await graph.join()
    assert await graph.row("select count(*) from identifiers where value = '9'") == (0,)
    assert sorted((one["what"], one["reason"]) for one in await conflicts(graph.connection, 10)) == [
        ("identifier", "unique"),
        ("merge", "unique"),
    ]
    assert (await graph.why(mine, other))[0] is False


def test_the_definitions_of_these_tests_are_definitions() -> None:
    assert [DEFINITION.validate_python(body).key for body in BODIES]


async def test_a_merge_can_be_tried_out_and_leaves_everything_as_it_was(graph: Graph) -> None:
    older, younger = await graph.see("s1", customer="7"), await graph.see("s2", passport="x")
    states = {
        older: ProfileState({"city": Trait("Oslo", 1, "e1"), "tags": Trait(["a"], 1, "e1")}, {"sum": Decimal("0.1")}),
        younger: ProfileState({"city": Trait("Rome", 2, "e2"), "tags": Trait(["b"], 2, "e2")}, {"sum": Decimal("0.2")}),
    }
    await Traits(graph.connection).store(states)
    plan = await plan_merge(graph.connection, graph.settings, ["customer:7", younger])
    assert (plan.survivor, plan.absorbed, plan.refused) == (older, [younger], None)
    assert plan.traits == {"city": ("Rome", younger), "tags": (["a", "b"], None)}
    assert plan.totals == {"sum": Decimal("0.3")}
    assert await graph.row("select count(*) from profiles where merged_into is not null") == (0,)
    other = await graph.see("s3", customer="8")
    refused = (await plan_merge(graph.connection, graph.settings, ["customer:7", other])).refused
    assert refused == "they have different values in the unique namespace customer"
    assert (await plan_merge(graph.connection, graph.settings, [older, "customer:7"])).survivor is None


async def test_of_what_two_have_agreed_to_the_stricter_stays_when_they_become_one(graph: Graph) -> None:
    consents = Consents(graph.connection)
    one, other = await graph.see("s1"), await graph.see("s2")
    said = {
        (one, "both-yes"): (True, 1),
        (other, "both-yes"): (True, 2),
        (one, "no-then-yes"): (False, 1),
        (other, "no-then-yes"): (True, 2),
        (one, "yes-then-no"): (True, 1),
        (other, "yes-then-no"): (False, 2),
        (other, "one-alone"): (True, 3),
    }
    statements = {key: Statement(granted, EPOCH + timedelta(days=day), "e") for key, (granted, day) in said.items()}
    await consents.store(statements)
    await consents.store({(one, "both-yes"): Statement(False, EPOCH, "earlier")})  # too late to count
    for session in ("s1", "s2"):
        await graph.see(session, customer="7")
    await graph.join()
    assert await consents.load([one]) == {
        one: {
            "both-yes": statements[other, "both-yes"],
            "no-then-yes": statements[one, "no-then-yes"],
            "yes-then-no": statements[other, "yes-then-no"],
            "one-alone": statements[other, "one-alone"],
        }
    }
    await consents.store({(other, "one-alone"): Statement(False, EPOCH + timedelta(days=9), "a race with the merge")})
    assert (await consents.load([one]))[one]["one-alone"].granted is False


async def test_a_dropped_event_is_counted_once_and_nothing_is_kept_of_it(graph: Graph) -> None:
    consents = Consents(graph.connection)
    dropped = [event(number, source="app", properties={"mail": "canary"}) for number in (1, 2, 2)]
    for batch in (dropped, dropped[:1]):
        await consents.drop(0, batch)
    (shop,) = [one for one in await accounting(graph.connection) if one.source == "app"]
    assert shop.dropped == 2
    assert await graph.row("select count(*) from dropped_events d where d::text like '%canary%'") == (0,)
    (claimed,) = await Replayed(graph.connection).claim({dropped[0].origin, Origin(0, 9, 0)})
    assert claimed == Origin(0, 9, 0)


async def test_an_export_holds_everything_of_one_person_and_nothing_of_another(graph: Graph) -> None:
    await graph.see("s1", customer="7", device="laptop")
    younger = await graph.see("s2")
    await graph.see("s2", customer="7")
    await graph.see("s3", customer="8", device="strangers")
    await graph.join()
    await Traits(graph.connection).store(
        {younger: ProfileState({"city": Trait("Oslo", 1, "e")}, {"sum": Decimal("0.1")})}
    )
    found = await export(graph.connection, graph.settings, "customer:7")
    assert [one["value"] for one in found["identifiers"]] == ["7", "laptop"]
    assert {one["id"] for one in found["sessions"]} == {"s1", "s2"}
    assert found["traits"] == [{"name": "city", "value": "Oslo", "event_id": "e"}]
    assert [(one["absorbed"], one["cause"]) for one in found["merges"]] == [(younger, "identifier")]
    assert "strangers" not in json.dumps(found, default=str)
    with pytest.raises(LookupError):
        await export(graph.connection, graph.settings, "customer:9")


async def test_a_session_knows_when_it_began_was_last_heard_of_and_ended_whatever_the_order(graph: Graph) -> None:
    for at, type in (
        (7200, "page-view"),
        (100, "page-view"),
        (9000, "visit-ended"),
        (50, "page-view"),
        (30, "page-view"),
    ):
        await graph.see("s1", type=type, occurred=at)
    started, last, ended = await graph.row("select started_at, last_at, ended_at from sessions")
    assert started == EPOCH + timedelta(seconds=30)
    assert last == ended == EPOCH + timedelta(seconds=9000)


async def test_until_merge_has_answered_who_comes_as_one_of_two_has_the_numbers_of_both(graph: Graph) -> None:
    browser = await graph.see("browser")
    await graph.see("laptop", customer="10")
    assert await graph.see("browser", customer="10") == browser  # the older one, which has no number of its own
    eleven = await graph.see("browser", customer="11")
    await graph.join()
    assert await graph.row("select count(*) from asked_joins") == (0,)
    assert await graph.see("phone", customer="11") == eleven
    same, told = await graph.why("customer:10", "customer:11")
    assert not same and "customer" in told
    assert (await graph.why("customer:10", browser))[0]


async def test_two_lanes_cannot_give_one_person_two_numbers_at_once(connect: Connect, graph: Graph) -> None:
    person = await graph.see("s1", device="d")
    await graph.see("s2", device="d")
    await graph.join()
    assert await graph.see("s2") == person
    await graph.connection.commit()
    async with await connect() as connection, await connect() as watch:
        await watch.set_autocommit(True)
        other = Graph(connection, graph.known, graph.settings, events=100)
        assert await graph.see("s1", customer="7") == person
        racing = asyncio.create_task(other.see("s2", customer="8"))
        await until_one_waits(watch)
        await graph.connection.commit()
        with pytest.raises(Unavailable):
            await racing
        await connection.rollback()
        assert await other.see("s2", customer="8") != person


async def test_who_became_part_of_another_meanwhile_gets_nothing_that_the_two_may_not_both_have(
    graph: Graph, connect: Connect
) -> None:
    await graph.see("s1", customer="1")
    browser = await graph.see("s2")
    await graph.see("s2", device="tv")
    await graph.connection.commit()
    async with await connect() as merging:
        other = Graph(merging, graph.known, graph.settings, 100)
        seen, stored = graph.see("s2", customer="2"), Identities.values

        async def meanwhile(self: Identities, profiles: Collection[str]) -> Any:
            """The merge commits between two questions of identify's."""
            other.jobs = [
                MergeJob(profiles=[await other.see("s1"), browser], cause="operator", namespace="operator", event="")
            ]
            await other.join()
            await merging.commit()
            return await stored(self, profiles)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Identities, "values", meanwhile)
            with pytest.raises(Unavailable):
                await seen
    await graph.connection.rollback()
    assert await graph.row("select string_agg(value, ',') from identifiers where namespace = 'customer'") == ("1",)
