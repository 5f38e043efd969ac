"""Whatever people do, and operators undo, in whatever order: everybody has what is theirs, by a plain oracle."""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass, field
from itertools import combinations, count
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from processors.storage.database import Connection, connector
from processors.storage.definitions import DefinitionStore
from processors.storage.migrate import migrate
from tests.integration.test_unmerge import BODIES, Stages
from tests.kit.services import Services

PEOPLE = ("ann", "bob", "cy", "dot")
people = st.sampled_from(PEOPLE)
sessions = st.sampled_from("xyz")
spending = st.integers(0, 9)


@dataclass(eq=False)
class Group:
    """People who are one, rightly or not; `head` is their live profile, made as the `age`th."""

    people: set[str]
    head: str
    age: int
    #: All profiles that they were.
    born: set[str]


@dataclass
class Oracle:
    groups: dict[str, Group] = field(default_factory=dict)
    #: Profile that was absorbed to the group that it was then.
    absorbed: dict[str, Group] = field(default_factory=dict)
    apart: set[frozenset[str]] = field(default_factory=set)
    #: Person to their events' ids, in order.
    events: dict[str, list[str]] = field(default_factory=dict)

    def share(self, one: str, other: str) -> None:
        old, young = sorted((self.groups[one], self.groups[other]), key=lambda group: group.age)
        if old is young or any(frozenset((a, b)) in self.apart for a in old.born for b in young.born):
            return
        self.absorbed[young.head] = Group(set(young.people), young.head, young.age, set(young.born))
        old.people |= young.people
        old.born |= young.born
        self.groups |= dict.fromkeys(young.people, old)

    def part(self, profile: str) -> None:
        left = self.absorbed.pop(profile)
        (stayed,) = [group for group in self.everybody() if profile in group.born]
        left.people &= stayed.people
        left.born &= stayed.born
        stayed.people -= left.people
        stayed.born -= left.born
        self.apart.add(frozenset((left.head, stayed.head)))
        self.groups |= dict.fromkeys(left.people, left)

    def everybody(self) -> list[Group]:
        return list({id(group): group for group in self.groups.values()}.values())


_runs = count(1)


class Machine(RuleBasedStateMachine):
    """People come, log in, share a browser with others; operators part them again."""

    def __init__(self, runner: asyncio.Runner, connection: Connection) -> None:
        super().__init__()
        self._runner, self._name = runner, f"run{next(_runs)}"
        # One database for all runs: their people and events have names of their own.
        self._stages = Stages(connection, number=next(_runs) * 10_000)
        self._devices = (f"{self._name}-device-{n}" for n in count())
        self._oracle = Oracle()
        self._known_sessions: set[str] = set()

    def _do(self, what: Coroutine[Any, Any, Any]) -> Any:
        return self._runner.run(what)

    def _come(self, who: str, session: str, **shown: Any) -> None:
        session = f"{self._name}-{who}-{session}"
        id = self._do(self._stages.see(session, **shown))
        self._known_sessions.add(session)
        self._oracle.events.setdefault(who, []).append(id)
        if who not in self._oracle.groups:
            profile = self._do(self._stages.live(f"user:{self._name}-{who}"))
            self._oracle.groups[who] = Group({who}, profile, self._stages.number, {profile})

    @rule(who=people, session=sessions, spent=spending, city=st.sampled_from(["Oslo", "Rome"]))
    def logs_in(self, who: str, session: str, spent: int, city: str) -> None:
        self._come(who, session, user=f"{self._name}-{who}", spent=spent, city=city)

    @rule(who=people, session=sessions, spent=spending)
    def looks_around(self, who: str, session: str, spent: int) -> None:
        """Without a login, in a browser where they had one."""
        if f"{self._name}-{who}-{session}" in self._known_sessions:
            self._come(who, session, spent=spent)

    @rule(one=people, other=people, session=sessions)
    def share_a_device(self, one: str, other: str, session: str) -> None:
        for who in (one, other):  # who never was anybody of their own cannot be parted
            if who not in self._oracle.groups:
                self._come(who, session, user=f"{self._name}-{who}")
        device = next(self._devices)
        for who in (one, other):
            self._come(who, session, user=f"{self._name}-{who}", device=device)
        self._oracle.share(one, other)

    @precondition(lambda self: self._oracle.absorbed)
    @rule(choice=st.integers(0, 9))
    def an_operator_parts_them(self, choice: int) -> None:
        merged = sorted(self._oracle.absorbed, key=lambda profile: self._oracle.absorbed[profile].age)
        profile = merged[choice % len(merged)]
        self._do(self._stages.unmerge(profile))
        self._oracle.part(profile)

    @invariant()
    def everybody_has_what_is_theirs(self) -> None:
        groups = self._oracle.everybody()
        for one, other in combinations(groups, 2):
            assert one.head != other.head
        for group in groups:
            for who in sorted(group.people):
                assert self._do(self._stages.live(f"user:{self._name}-{who}")) == group.head, who
            ids = [id for who in group.people for id in self._oracle.events[who]]
            in_order = sorted(ids, key=lambda id: int(id.removeprefix("event-")))
            expected = self._stages.expected(group.head, in_order)
            assert self._do(self._stages.state(group.head)) == expected, group.people


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made


async def connected(url: str) -> Connection:
    connection = await connector(url, "test")()
    await migrate(connection)
    await DefinitionStore(connection).change({f"{body['kind']}/{body['id']}": body for body in BODIES}, "test")
    await connection.commit()
    return connection


def test_whatever_people_do_and_operators_undo_everybody_has_what_is_theirs(
    services: Services, runner: asyncio.Runner
) -> None:
    connection = runner.run(connected(services.new_database()))
    try:
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            lambda: Machine(runner, connection),
            settings=settings(
                max_examples=12,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
            ),
        )
    finally:
        runner.run(connection.close())
