"""Random graphs, with waits that are answered in any order and grouping: every path is accounted for, once."""

import random
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.definitions.automation import Workflow
from schemas.events import Answer, Resumption, WorkflowRun
from tests.unit.making import definitions, event, moment
from workflows.actions.action import ERROR, Action, Config, Outcome, Run
from workflows.actions.builtin import load_actions
from workflows.actions.waits import came
from workflows.commands import Command
from workflows.engine import MAX_EMITTED, MAX_STATE_BYTES, Ran, advance, run_workflow
from workflows.graph import Graph
from workflows.identification import Identifiers
from workflows.profile import ProfileState
from workflows.running import Running
from workflows.waiting import RunState


class GoConfig(Config):
    """`to`: the port to leave by; `raise` and `say` fail, each in its way."""

    to: str


class Go(Action[GoConfig]):
    """Leaves as it is told."""

    name = "go"
    Config = GoConfig
    ports = ("left", "right")

    def run(self, config: GoConfig, run: Run) -> Outcome:
        if config.to == "raise":
            raise LookupError("with secret@values.example in its text")
        return Outcome(error="said") if config.to == "say" else Outcome(config.to)


ACTIONS = {**load_actions(), "go": Go()}
_encode = msgspec.json.Encoder(enc_hook=str).encode
ASK = {"resource": "crm"}
#: Nodes that do not wait: action, settings, the ports that they have, the one by which they leave.
STEPS: list[tuple[str, dict[str, Any], tuple[str, ...], str]] = [
    ("go", {"to": "left"}, ("left", "right"), "left"),
    ("go", {"to": "right"}, ("left", "right"), "right"),
    ("go", {"to": "raise"}, ("left", "right"), ERROR),
    ("go", {"to": "say"}, ("left", "right"), ERROR),
    ("update-profile", {"increment": {"passed": "1"}}, ("out",), "out"),
    ("emit-event", {"type": "passed"}, ("out",), "out"),
    ("condition", {"if": "profile.totals.none > 1"}, ("true", "false"), "false"),
]
#: Nodes that wait, of each kind; with what they may be told, and the port by which they leave then.
WAITS: list[tuple[str, dict[str, Any], tuple[str, ...], list[tuple[Answer, str]]]] = [
    ("wait", {"hours": 1}, ("out",), [(Answer(), "out"), (Answer(error="gone"), ERROR)]),
    (
        "wait-for-event",
        {"types": ["order-*"], "days": 1},
        ("came", "timeout"),
        [(Answer({"id": "e", "properties": {"a": [1.5, None, "ü"]}}), "came"), (Answer(is_late=True), "timeout")],
    ),
    (
        "http-request",
        {**ASK, "path": "/a", "body": {"a": "1.5"}},
        ("out", "refused"),
        [(Answer({"status": 200}), "out"), (Answer({"status": 404}), "refused"), (Answer({}), ERROR)],
    ),
    (
        "query",
        {**ASK, "sql": "select %(a)s", "values": {"a": "[1]"}},
        ("out", "empty"),
        [(Answer([{"a": 1}]), "out"), (Answer([]), "empty"), (Answer(error="timeout"), ERROR)],
    ),
    (
        "load-profile",
        {"namespace": "mail", "value": '"a"'},
        ("out", "unknown"),
        [(Answer({"id": "q"}), "out"), (Answer(), "unknown"), (Answer(error="timeout"), ERROR)],
    ),
]


class Case(msgspec.Struct):
    """A graph; the port by which each node that is no join leaves, if it runs; and what those that wait are told."""

    nodes: dict[str, Any] = {}
    ports: dict[str, str] = {}
    answers: dict[str, Answer] = {}

    def add(self, name: str, action: str, config: dict[str, Any], then: dict[str, list[str]], **more: Any) -> None:
        self.nodes[name] = {"action": action, "config": config, "then": then, **more}

    def before(self, name: str) -> list[str]:
        return [
            other for other, node in self.nodes.items() if any(name in targets for targets in node["then"].values())
        ]


@st.composite
def cases(draw: st.DrawFn, waits: bool = True, first: bool = False, ends: bool = False, most: int = 10) -> Case:
    """A random graph without cycles, its nodes written down in any order."""
    case, names = Case({}, {}, {}), [f"n{number}" for number in range(draw(st.integers(1, most)))]
    kinds = ["step", "join"] + ["wait", "wait"] * waits + ["end"] * ends
    for number, name in enumerate(names):
        later = names[number + 1 :]
        targets = st.lists(st.sampled_from(later), max_size=3, unique=True) if later else st.just([])
        more = {"on_error": "stop"} if ends and draw(st.integers(0, 3)) == 0 else {}
        match draw(st.sampled_from(kinds)):
            case "step":
                action, config, ports, case.ports[name] = draw(st.sampled_from(STEPS))
                case.add(name, action, config, {port: draw(targets) for port in (*ports, ERROR)}, **more)
            case "wait":
                action, config, ports, answers = draw(st.sampled_from(WAITS))
                case.answers[name], case.ports[name] = draw(st.sampled_from(answers))
                case.add(name, action, config, {port: draw(targets) for port in (*ports, ERROR)}, **more)
            case "join" if first and draw(st.booleans()):
                then = draw(targets)  # by which of both it leaves is a matter of who comes first
                case.add(name, "join", {"first": True}, {"all": then, "some": then})
            case "join":
                case.add(name, "join", {}, {"all": draw(targets), "some": draw(targets)})
            case "end":
                case.add(name, "end", {}, {"out": draw(targets)})
                case.ports[name] = "out"
    case.nodes = dict(draw(st.permutations(list(case.nodes.items()))))
    return case


def passed(case: Case) -> dict[str, str]:
    """The nodes that are passed, each with the port by which it is left: read off the graph backwards, from each node
    to those that could lead to it, where the engine goes forwards."""
    known: dict[str, str | None] = {}

    def leads(before: str, to: str) -> bool:
        port = left_by(before)
        return port is not None and to in case.nodes[before]["then"].get(port, ())

    def left_by(name: str) -> str | None:
        if name not in known:
            leading = [leads(before, name) for before in case.before(name)]
            is_passed = any(leading) or not leading
            known[name] = case.ports.get(name, "all" if all(leading) else "some") if is_passed else None
        return known[name]

    return {name: port for name in case.nodes if (port := left_by(name)) is not None}


class Played(msgspec.Struct):
    """A run from its beginning until it waits for nothing any more."""

    state: RunState
    commands: list[tuple[str, Command]]
    totals: dict[str, Any]
    #: What it waited for, each time that it stopped.
    stops: list[tuple[str, ...]] = []


def stops(
    case: Case, rng: random.Random, at_once: float, stored: bool, profile: ProfileState
) -> Iterator[tuple[Graph, Ran]]:
    """The run each time that it stops. `at_once`: the part of what it waits for that is answered together."""
    graph, own, time = Graph(Workflow(id="w", nodes=case.nodes), ACTIONS), event(1, profile="p"), 1
    ran = run_workflow(graph, Run(own, profile))
    yield graph, ran
    while ran.state.waiting:
        waiting = sorted(ran.state.waiting)
        told = {name: case.answers[name] for name in waiting if rng.random() < at_once}
        told = told or {(name := rng.choice(waiting)): case.answers[name]}
        state = msgspec.json.decode(_encode(ran.state), type=RunState) if stored else ran.state
        time += 1
        ran = advance(graph, state, Run(own, profile, state.data, moment(time)), told)
        yield graph, ran


def play(case: Case, seed: int = 0, at_once: float = 0.5, stored: bool = False) -> Played:
    profile = ProfileState({}, {})
    played = Played(RunState(), [], {}, [])
    for _, ran in stops(case, random.Random(seed), at_once, stored, profile):
        played.state = ran.state
        played.commands += ran.commands
        played.stops.append(tuple(sorted(ran.state.waiting)))
        assert len(played.stops) <= len(case.nodes) + 1, "each wait is answered once"
    played.totals = profile.totals
    return played


def whole(played: Played) -> tuple[Any, ...]:
    """What must not depend on the order in which answers came."""
    state = played.state
    commands = sorted((node, repr(command)) for node, command in played.commands)
    return state.done, sorted(state.nodes), sorted(state.errors), state.data, commands, played.totals, state.emitted


SEEDS = st.integers(0, 2**32)


@given(cases(waits=False))
def test_the_nodes_that_are_passed_are_those_that_the_graph_says(case: Case):
    played = play(case)
    assert played.state.done == passed(case)
    assert sorted(played.state.nodes) == sorted(passed(case))
    assert played.stops == [()]
    failed = {name for name, port in passed(case).items() if port == ERROR}
    assert {name for name, error in played.state.errors if error in ("LookupError", "said")} == failed


@settings(max_examples=150)
@given(cases(), SEEDS, SEEDS)
def test_whatever_the_order_and_the_grouping_of_answers_the_same_nodes_are_passed_by_the_same_ports(
    case: Case, seed: int, other: int
):
    ways = [play(case, seed), play(case, other), play(case, seed, at_once=1), play(case, other, at_once=0)]
    for played in ways:
        assert played.state.done == passed(case)
        assert sorted(played.state.nodes) == sorted(passed(case))
        assert whole(played) == whole(ways[0])


@given(cases(), SEEDS)
def test_what_each_node_does_is_done_once(case: Case, seed: int):
    played = play(case, seed)
    counted = Counter(case.nodes[name]["action"] for name in passed(case))
    assert int(played.totals.get("passed", 0)) == counted["update-profile"]
    assert played.state.emitted == counted["emit-event"]
    assert max(Counter(name for name, _ in played.commands).values(), default=1) == 1


@given(cases(first=True, ends=True), SEEDS)
def test_the_same_in_the_same_order_is_the_same(case: Case, seed: int):
    assert play(case, seed) == play(case, seed)


@given(cases(first=True, ends=True), SEEDS)
def test_a_run_that_was_stored_wherever_it_stopped_goes_on_as_one_that_was_not(case: Case, seed: int):
    assert play(case, seed, stored=True) == play(case, seed, stored=False)


@given(cases(), SEEDS)
def test_a_node_waits_only_for_those_that_may_still_lead_to_it_and_for_all_of_them(case: Case, seed: int):
    for _, ran in stops(case, random.Random(seed), 0.5, False, ProfileState({}, {})):
        state = ran.state

        def may_come(name: str, state: RunState = state) -> bool:
            if name in state.waiting:
                return True
            return name not in state.done and any(map(may_come, case.before(name)))

        for name in state.nodes:
            assert not any(may_come(before) for before in case.before(name)), "too soon"
        for name in state.reached - state.done.keys() - state.waiting.keys():
            assert any(may_come(before) for before in case.before(name)), "too late"


@given(cases(), SEEDS)
def test_answers_to_what_is_not_asked_change_nothing(case: Case, seed: int):
    """Those that come twice, and those for nodes that have not come so far."""
    profile = ProfileState({}, {})
    for graph, ran in stops(case, random.Random(seed), 0.5, False, profile):
        before = _encode(ran.state)
        told = {name: answer for name, answer in case.answers.items() if name not in ran.state.waiting}
        again = advance(graph, ran.state, Run(event(1, profile="p"), profile, ran.state.data), told)
        assert (again.commands, again.changed, _encode(again.state)) == ([], set(), before)


def test_a_node_that_has_not_waited_takes_no_answer():
    nodes = {
        "a": {"action": "wait", "config": {"days": 1}, "then": ["b"]},
        "b": {"action": "http-request", "config": ASK},
    }
    graph, run = Graph(Workflow(id="w", nodes=nodes), ACTIONS), Run(event(1), ProfileState({}, {}))
    ran = run_workflow(graph, run)
    ran = advance(graph, ran.state, run, {"a": Answer(), "b": Answer({"status": 200})})
    assert (ran.nodes, list(ran.state.waiting)) == (["a", "b"], ["b"])


# --- Joins ---------------------------------------------------------------------------------------------------------


@given(cases(first=True), SEEDS, SEEDS)
def test_a_join_that_takes_the_first_changes_when_nodes_are_passed_and_not_which(case: Case, seed: int, other: int):
    takes_first = {name for name, node in case.nodes.items() if node["config"].get("first")}
    for played in (play(case, seed), play(case, other, at_once=0)):
        ports, expected = dict(played.state.done), passed(case)
        assert len(played.state.nodes) == len(set(played.state.nodes))
        assert ports.keys() == expected.keys()
        assert {n: p for n, p in ports.items() if n not in takes_first} == {
            n: p for n, p in expected.items() if n not in takes_first
        }


def joined(first: bool, answered: list[str]) -> list[list[str]]:
    """The nodes passed so far, each time that one of two waits is answered that a join is behind, and a node behind."""
    wait = {"action": "wait", "config": {"days": 1}, "then": ["join"]}
    join = {"action": "join", "config": {"first": first}, "then": {"all": ["all"], "some": ["some"]}}
    end = {"action": "start"}
    nodes = {"a": wait, "b": wait, "join": join, "all": end, "some": end}
    graph, run = Graph(Workflow(id="w", nodes=nodes), ACTIONS), Run(event(1), ProfileState({}, {}))
    ran = run_workflow(graph, run)
    passed_so_far = [list(ran.nodes)]
    for name in answered:
        ran = advance(graph, ran.state, run, {name: Answer()})
        passed_so_far.append(list(ran.nodes))
    return passed_so_far


@pytest.mark.parametrize("order", [["a", "b"], ["b", "a"]])
def test_a_join_waits_for_both(order: list[str]):
    assert joined(False, order) == [["a", "b"], ["a", "b"], ["a", "b", "join", "all"]]


@pytest.mark.parametrize("order", [["a", "b"], ["b", "a"]])
def test_a_join_that_takes_the_first_goes_on_once(order: list[str]):
    assert [nodes[:3] for nodes in joined(True, order)[1:]] == [["a", "b", "join"]] * 2
    assert joined(True, order)[-1] == ["a", "b", "join", "some"]


@pytest.mark.parametrize("order", [["a", "b"], ["b", "a"]])
def test_what_is_behind_a_join_that_takes_the_first_does_not_wait_for_the_others(order: list[str]):
    assert joined(True, order)[1] == ["a", "b", "join", "some"]


@pytest.mark.parametrize(("answer", "port"), [(Answer(), "all"), (Answer(error="gone"), "some")])
def test_a_branch_that_fails_is_one_that_a_join_does_not_have(answer: Answer, port: str):
    wait = {"action": "wait", "config": {"days": 1}, "then": ["join"]}
    nodes = {"a": wait, "b": {"action": "start", "then": ["join"]}, "join": {"action": "join"}}
    graph, run = Graph(Workflow(id="w", nodes=nodes), ACTIONS), Run(event(1), ProfileState({}, {}))
    ran = run_workflow(graph, run)
    assert ran.state.done == {"b": "out"}
    assert advance(graph, ran.state, run, {"a": answer}).state.done["join"] == port


# --- Ends ----------------------------------------------------------------------------------------------------------


@settings(max_examples=150)
@given(cases(ends=True), SEEDS)
def test_an_end_or_a_failure_that_stops_is_the_last_thing_that_a_run_does(case: Case, seed: int):
    ending = {
        name
        for name, port in passed(case).items()
        if case.nodes[name]["action"] == "end" or (port == ERROR and case.nodes[name].get("on_error") == "stop")
    }
    profile = ProfileState({}, {})
    for graph, ran in stops(case, random.Random(seed), 0.5, True, profile):
        state = ran.state
        came_to = ending & state.done.keys()
        assert state.done.items() <= passed(case).items()
        assert state.ended == bool(came_to)
        assert len(came_to) <= 1
        if state.ended:
            assert list(state.done)[-1] in came_to
            assert not state.waiting
            assert state.due_at is None
            after = advance(graph, state, Run(event(1), profile, state.data), case.answers)
            assert (after.commands, after.nodes, after.state.waiting) == ([], ran.nodes, {})
    assert state.ended == bool(ending), "the other branches cannot keep an end from coming"
    assert state.ended or state.done == passed(case)


def test_an_end_ends_the_branches_that_wait_and_those_that_have_not_come_so_far():
    nodes = {
        "begin": {"action": "start", "then": ["slow", "short", "late"]},
        "slow": {"action": "wait", "config": {"days": 3}, "then": ["never"]},
        "short": {"action": "wait", "config": {"days": 1}, "then": ["end"]},
        "late": {"action": "wait-for-event", "config": {"types": ["*"], "days": 9}},
        "end": {"action": "end", "then": ["never"]},
        "never": {"action": "log", "config": {"message": "x"}},
    }
    graph, run = Graph(Workflow(id="w", nodes=nodes), ACTIONS), Run(event(1), ProfileState({}, {}))
    ran = run_workflow(graph, run)
    assert sorted(ran.state.waiting) == ["late", "short", "slow"]
    ran = advance(graph, ran.state, run, {"short": Answer()})
    assert (ran.state.waiting, ran.state.awaits, ran.state.due_at) == ({}, [], None)
    assert ran.state.done == {"begin": "out", "short": "out", "end": "out"}
    assert ran.commands == []


@pytest.mark.parametrize("stop", [False, True])
def test_a_failure_ends_its_branch_or_the_whole_run(stop: bool):
    nodes = {
        "ask": {
            "action": "http-request",
            "config": ASK,
            "then": {"error": ["after"]},
            "on_error": "stop" if stop else "continue",
        },
        "after": {"action": "start"},
        "wait": {"action": "wait", "config": {"days": 1}},
    }
    graph, run = Graph(Workflow(id="w", nodes=nodes), ACTIONS), Run(event(1), ProfileState({}, {}))
    ran = advance(graph, run_workflow(graph, run).state, run, {"ask": Answer(error="unreachable")})
    assert ran.errors == [("ask", "unreachable")]
    assert ("after" in ran.nodes, sorted(ran.state.waiting)) == ((False, []) if stop else (True, ["wait"]))


# --- Limits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [0.02, 0.3, 1])
def test_a_run_makes_so_many_events_and_no_more_in_however_many_parts(at_once: float):
    case = Case({}, {}, {})
    for number in range(MAX_EMITTED - 5):
        case.add(f"w{number}", "wait", {"days": 1}, {"out": [f"e{number}"]} if number % 2 else {})
        case.answers[f"w{number}"] = Answer()
    for number in range(MAX_EMITTED + 5):
        case.add(f"e{number}", "emit-event", {"type": "a"}, {})
    played = play(case, 1, at_once, stored=True)
    assert len(played.commands) == MAX_EMITTED
    assert Counter(error for _, error in played.state.errors) == {"too_many_events": 5}
    assert Counter(played.state.done.values())[ERROR] == 5


BIG = {
    "big": {"action": "set-data", "config": {"values": {"x": "event.properties.x"}}, "then": ["wait", "b"]},
    "wait": {"action": "wait", "config": {"days": 1}, "then": {"out": ["join"], "error": ["fallback"]}},
    "b": {"action": "start", "then": ["join"]},
    "join": {"action": "join"},
    "fallback": {"action": "start"},
}


def run_big(size: int, **wait: Any) -> Ran:
    nodes = {**BIG, "wait": {**BIG["wait"], **wait}}
    graph = Graph(Workflow(id="w", nodes=nodes), ACTIONS)
    return run_workflow(graph, Run(event(1, properties={"x": "x" * size}), ProfileState({}, {})))


def test_a_run_that_would_have_to_remember_too_much_does_not_wait():
    assert list(run_big(MAX_STATE_BYTES - 1000).state.waiting) == ["wait"]
    ran = run_big(MAX_STATE_BYTES)
    assert (ran.state.waiting, ran.errors) == ({}, [("wait", "too_much_to_remember")])


def test_a_wait_that_cannot_be_remembered_leaves_by_error_as_whatever_fails():
    state = run_big(MAX_STATE_BYTES).state
    assert state.done == {"big": "out", "wait": ERROR, "b": "out", "join": "some", "fallback": "out"}


def test_a_wait_that_cannot_be_remembered_stops_the_run_where_it_says_so():
    assert run_big(MAX_STATE_BYTES, on_error="stop").state.ended


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**30])
def test_a_number_that_somebody_answers_does_not_break_the_run_that_asked(number: int):
    nodes = {
        "ask": {"action": "http-request", "config": ASK, "then": ["wait"]},
        "wait": {"action": "wait", "config": {"days": 1}},
    }
    graph, run = Graph(Workflow(id="w", nodes=nodes), ACTIONS), Run(event(1), ProfileState({}, {}))
    ran = run_workflow(graph, run)
    answer = msgspec.json.decode(_encode(Answer({"status": 200, "body": {"id": number}})), type=Answer)
    assert answer.value["body"]["id"] == number
    assert list(advance(graph, ran.state, run, {"ask": answer}).state.waiting) == ["wait"]


# --- Parts ---------------------------------------------------------------------------------------------------------


def after_an_event(stored: bool, behind: dict[str, Any]) -> RunState:
    """A run that waits for an event, then a day, then goes on with the node `behind`."""
    nodes = {
        "order": {"action": "wait-for-event", "config": {"types": ["*"], "days": 1}, "then": ["day"]},
        "day": {"action": "wait", "config": {"days": 1}, "then": ["behind"]},
        "behind": behind,
    }
    graph, profile = Graph(Workflow(id="w", nodes=nodes), ACTIONS), ProfileState({}, {})
    state = run_workflow(graph, Run(event(1, profile="p"), profile)).state
    for name, answer in (("order", came(Run(event(2, profile="p"), profile))), ("day", Answer())):
        if stored:
            state = msgspec.json.decode(_encode(state), type=RunState)
        state = advance(graph, state, Run(event(1, profile="p"), profile, state.data), {name: answer}).state
    return state


@pytest.mark.parametrize(
    "behind",
    [
        {"action": "condition", "config": {"if": "data.order.time > event.time"}},
        {"action": "fill-template", "config": {"text": "{data.order.time}", "to": "y"}},
    ],
    ids=lambda node: node["action"],
)
def test_what_came_is_the_same_to_the_nodes_behind_however_long_the_run_has_waited(behind: dict[str, Any]):
    found = [after_an_event(stored, behind) for stored in (False, True)]
    assert found[0].done == found[1].done
    assert found[0].data.get("y") == found[1].data.get("y")


def emitted_ids(*at: datetime) -> list[Any]:
    """The ids of the events that two branches make, each after a wait, where the run is told of time at these times."""
    nodes: dict[str, Any] = {}
    for number in (1, 2):
        nodes[f"w{number}"] = {"action": "wait", "config": {"hours": number}, "then": [f"e{number}"]}
        nodes[f"e{number}"] = {"action": "emit-event", "config": {"type": f"type-{number}"}}
    known = definitions({"kind": "source", "id": "shop"}, {"kind": "workflow", "id": "w", "nodes": nodes})
    accepted = msgspec.structs.asdict(event(1, profile="p"))
    begun = WorkflowRun(**{**accepted, "workflows": ["w"]})
    running = Running(known, Identifiers(known, str), {"p": ProfileState({}, {})})
    running.add(begun, first_time=True)
    for time in at:
        running.resume(begun.origin, Resumption("w", time))
    sent = [msgspec.json.decode(one.payload)["events"][0] for one in running.emitted]
    return sorted((one["type"], one["id"]) for one in sent)


def test_both_branches_make_their_event():
    assert [type for type, _ in emitted_ids(moment(3601), moment(7201))] == ["type-1", "type-2"]
    assert [type for type, _ in emitted_ids(moment(3601))] == ["type-1"]


def test_what_a_node_sends_has_the_same_id_however_the_answers_came():
    """What is done again (from a backup, from the archive) must be recognised by it."""
    assert emitted_ids(moment(3601), moment(7201)) == emitted_ids(moment(7201))
