"""Every built-in action against what it documents: all ports, refusals, hostile values, waits, shares of splits."""

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.definitions.automation import Workflow
from schemas.events import Answer
from tests.unit.making import definitions, event, moment
from workflows.actions.action import ERROR, Action, Outcome, Run
from workflows.actions.builtin import BUILTIN, load_actions
from workflows.commands import Emit, Increment, Keep
from workflows.engine import Ran, advance, run_workflow
from workflows.graph import Graph
from workflows.private import private_sent
from workflows.profile import ProfileState, Trait
from workflows.waiting import ForEvent, HttpCall, ProfileCall, QueryCall, Until, over, wants

ACTIONS = load_actions()
X = "event.properties.x"
ASK = {"resource": "crm"}
LATE = Answer(is_late=True)


def begin(nodes: dict[str, Any], traits: dict[str, Any] | None = None, **fields: Any) -> tuple[Graph, Run, Ran]:
    """A run from its beginning, about an event that came one second into 2026."""
    graph = Graph(Workflow(id="w", nodes=nodes), ACTIONS)
    state = ProfileState({name: Trait(value, 0, "") for name, value in (traits or {}).items()}, {})
    run = Run(event(1, **{"profile": "p", **fields}), state)
    return graph, run, run_workflow(graph, run)


def decided(action: str, config: dict[str, Any], data: dict[str, Any] | None = None, **fields: Any) -> Outcome:
    """What an action decides by itself."""
    found = ACTIONS[action]
    made = Run(event(1, **{"profile": "p", **fields}), ProfileState({}, {}), data)
    return found.run(found.Config.model_validate(config), made)


def kept(action: str, config: dict[str, Any], data: dict[str, Any] | None = None, **properties: Any) -> dict[str, Any]:
    """What an action keeps, by name."""
    commands = decided(action, config, data, properties=properties).commands
    assert all(isinstance(command, Keep) for command in commands)
    return {command.name: command.value for command in commands if isinstance(command, Keep)}


def call(config: dict[str, Any], **properties: Any) -> HttpCall:
    wait = decided("http-request", {**ASK, **config}, properties=properties).wait
    assert isinstance(wait, HttpCall)
    return wait


# --- Ports ---------------------------------------------------------------------------------------------------------


class Way(msgspec.Struct, frozen=True):
    """With these settings, and this about the event, an action leaves by this port; where it waits, at this answer."""

    action: str
    port: str
    config: dict[str, Any] = {}
    x: Any = None
    answer: Answer | None = None
    traits: dict[str, Any] = {}
    fields: dict[str, Any] = {}
    around: dict[str, Any] = {}


def cases(**of: str) -> dict[str, Any]:
    """The settings of a switch: port to condition, in this order."""
    return {"cases": [{"to": port, "if": condition} for port, condition in of.items()]}


SWITCH = cases(big=f"{X} > 10", huge=f"{X} > 100", text=f'{X} == "a"')
SPLIT = {"shares": {"a": 60, "b": 39.5, "rest": 0.5}}
MEETING = {"a": {"action": "start", "then": ["n"]}, "b": {"action": "condition", "config": {"if": X}}}
MAP = {"value": X, "table": {"1": "one", "true": "yes"}, "to": "y"}
HTTP, SQL = {**ASK, "path": "/a"}, {**ASK, "sql": "select 1"}
WAYS = [
    Way("start", "out"),
    Way("end", "out"),
    Way("condition", "true", {"if": f"{X} == 1"}, 1),
    Way("condition", "false", {"if": f"{X} == 1"}, 2),
    Way("condition", "false", {"if": X}, "true"),
    Way("switch", "big", SWITCH, 11),
    Way("switch", "text", SWITCH, "a"),
    Way("switch", "default", SWITCH, 10),
    Way("switch", "default", SWITCH),
    # Another port after an upgrade would be another treatment for people who are in the middle of one.
    Way("split", "a", SPLIT, fields={"profile": "person-1"}),
    Way("split", "b", SPLIT, fields={"profile": "person-4"}),
    Way("split", "rest", SPLIT, fields={"profile": "person-542"}),
    Way("join", "all"),
    Way("join", "all", x=True, around=MEETING | {"b": {**MEETING["b"], "then": ["n"]}}),
    Way("join", "some", x=False, around=MEETING | {"b": {**MEETING["b"], "then": ["n"]}}),
    Way("wait", "out", {"days": 1}, answer=Answer()),
    Way("wait", "out", {"until": '"2026-01-01"'}),
    Way("wait", ERROR, {"until": X}, "tomorrow"),
    Way("wait-for-event", "came", {"types": ["*"], "days": 1}, answer=Answer({"id": "e"})),
    Way("wait-for-event", "timeout", {"types": ["*"], "days": 1}, answer=LATE),
    Way("set-data", "out", {"values": {"y": X}}),
    Way("append-data", "out", {"values": {"y": X}}),
    Way("remove-data", "out", {"names": ["y"]}),
    Way("map-values", "out", MAP, 1),
    Way("map-values", "out", MAP, True),
    Way("map-values", "unknown", MAP, False),
    Way("map-values", "unknown", MAP),
    Way("fill-template", "out", {"text": "{event.properties.x}", "to": "y"}, "a"),
    Way("fill-template", "out", {"text": "{event.properties.x?}", "to": "y"}),
    Way("fill-template", ERROR, {"text": "{event.properties.x}", "to": "y"}),
    Way("hide", "out", {"value": X, "how": "hash", "to": "y"}),
    Way("copy-to-profile", "out", {"traits": {"t": "x"}}),
    Way("update-profile", "out", {"set": {"t": X}}),
    Way("update-profile", ERROR, {"increment": {"t": X}}, "1"),
    Way("map-to-profile", "out", {"decrement": {"t": X}}),
    Way("map-to-profile", ERROR, {"decrement": {"t": X}}, "1"),
    Way("interest", "out", {"name": X}, "sport"),
    Way("interest", ERROR, {"name": X}, 5),
    Way("consent", "out", {"consent": "marketing", "do": "grant"}),
    Way("segment", "out", {"segment": "vip"}),
    Way("merge-profiles", "out", {"trait": "mail"}),
    Way("load-profile", "out", {"namespace": "mail", "value": X}, "a", Answer({"id": "q"})),
    Way("load-profile", "unknown", {"namespace": "mail", "value": X}, "a", Answer()),
    Way("load-profile", "unknown", {"namespace": "mail", "value": X}),
    Way("load-profile", ERROR, {"namespace": "mail", "value": X}, "a", Answer(error="timeout")),
    Way("emit-event", "out", {"type": "seen"}),
    Way("value-changed", "changed", {"value": X, "trait": "t"}, 1),
    Way("value-changed", "changed", {"value": X, "trait": "t"}, 1, traits={"t": 2}),
    Way("value-changed", "same", {"value": X, "trait": "t"}, 1, traits={"t": 1}),
    Way("value-changed", "same", {"value": X, "trait": "t"}, traits={"t": 1}),
    Way("is-new", "true", {"what": "profile"}, fields={"counters": {"page-view": 1}}),
    Way("is-new", "false", {"what": "profile"}, fields={"counters": {"page-view": 1, "order": 1}}),
    Way("is-new", "true", {"what": "visit"}, fields={"opens_visit": True, "counters": {"page-view": 9}}),
    Way("is-new", "false", {"what": "visit"}, fields={"counters": {"page-view": 1}}),
    *(Way("http-request", "out", HTTP, answer=Answer({"status": status})) for status in (200, 204, 299)),
    *(Way("http-request", "refused", HTTP, answer=Answer({"status": status})) for status in (199, 300, 404, 499)),
    Way("http-request", ERROR, HTTP, answer=Answer(error="unreachable")),
    Way("http-request", ERROR, HTTP, answer=Answer({"body": "no status"})),
    Way("query", "out", SQL, answer=Answer([{"a": 1}])),
    Way("query", "empty", SQL, answer=Answer([])),
    Way("query", ERROR, SQL, answer=Answer(error="timeout")),
    Way("send-to-destination", "out", {"destination": "crm"}),
    Way("log", "out", {"message": "here"}),
]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.action}-{way.port}")
def test_an_action_leaves_by_the_port_that_its_documentation_says(way: Way):
    nodes = {"n": {"action": way.action, "config": way.config}, **way.around}
    graph, run, ran = begin(nodes, way.traits, properties={} if way.x is None else {"x": way.x}, **way.fields)
    assert (way.answer is not None) == ("n" in ran.state.waiting)
    if way.answer is not None:
        ran = advance(graph, ran.state, run, {"n": way.answer})
    assert ran.state.done["n"] == way.port
    assert not ran.state.waiting
    assert way.port != ERROR or "n" in dict(ran.errors)


def test_every_port_of_every_action_is_reached_by_a_test():
    ports: dict[str, set[str]] = {action.name: set() for action in BUILTIN}
    for way in WAYS:
        action = ACTIONS[way.action]
        ports[way.action].update(action.ports_of(action.Config.model_validate(way.config)))
    reached = {name: {way.port for way in WAYS if way.action == name} - {ERROR} for name in ports}
    # The second case of the switch holds only where the first does too.
    assert reached == ports | {"switch": ports["switch"] - {"huge"}}


def test_a_switch_takes_the_first_case_that_holds_in_the_order_in_which_they_stand():
    config = cases(huge=f"{X} > 100", big=f"{X} > 10", any="true")
    ports = [decided("switch", config, properties={"x": x}).port for x in (1000, 50, 5)]
    assert ports == ["huge", "big", "any"]


def stored(value: Any) -> Any:
    """As PostgreSQL's jsonb gives objects back, in which definitions are kept: the keys by length, then by bytes."""
    if isinstance(value, dict):
        return {key: stored(value[key]) for key in sorted(value, key=lambda key: (len(key.encode()), key.encode()))}
    return [stored(item) for item in value] if isinstance(value, list) else value


def test_a_switch_decides_the_same_after_its_definition_was_stored():
    config = cases(huge=f"{X} > 100", big=f"{X} > 10")
    assert decided("switch", config, properties={"x": 1000}) == decided(
        "switch", stored(config), properties={"x": 1000}
    )


def test_workflows_that_decide_differently_are_different_versions():
    big, huge = f"{X} > 10", f"{X} > 100"
    versions, ports = set(), set()
    for config in (cases(big=big, huge=huge), cases(huge=huge, big=big)):
        graph, _, ran = begin({"n": {"action": "switch", "config": config}}, properties={"x": 1000})
        versions.add(graph.version)
        ports.add(ran.state.done["n"])
    assert len(versions) == len(ports) == 2


@pytest.mark.parametrize(
    ("action", "config"),
    [
        ("switch", cases(error="true")),
        ("switch", cases(default="true")),
        ("split", {"shares": {ERROR: 50, "b": 50}}),
    ],
    ids=repr,
)
def test_ports_that_settings_name_are_others_than_every_action_has(action: str, config: dict[str, Any]):
    with pytest.raises(ValidationError):
        ACTIONS[action].Config.model_validate(config)


# --- Settings ------------------------------------------------------------------------------------------------------

REFUSED: list[tuple[str, dict[str, Any]]] = [
    *((action.name, {"colour": "red"}) for action in BUILTIN),
    ("condition", {"if": 1}),
    ("condition", {"if": None}),
    ("condition", {"when": "true"}),
    ("condition", {"if": "x" * 2001}),
    ("switch", cases()),
    ("switch", cases(**{"a b": "true"})),
    ("switch", cases(**{"": "true"})),
    ("switch", cases(a="1 +")),
    ("switch", cases(**{"a" * 51: "true"})),
    ("switch", cases(**{f"c{number}": "true" for number in range(51)})),
    ("switch", {"cases": {"a": "true"}}),
    ("split", {"shares": {"a": 100}}),
    ("split", {"shares": {"a": 50, "b": 49}}),
    ("split", {"shares": {"a": 50, "b": 50.01}}),
    ("split", {"shares": {"a": 100, "b": 0}}),
    ("split", {"shares": {"a": 110, "b": -10}}),
    ("split", {"shares": {"a": math.nan, "b": 50}}),
    ("split", {"shares": {"a": math.inf, "b": 50}}),
    ("split", {"shares": {f"p{number}": 100 / 21 for number in range(21)}}),
    ("join", {"first": "maybe"}),
    ("wait", {}),
    ("wait", {"days": 0}),
    ("wait", {"days": -1}),
    ("wait", {"days": math.nan}),
    ("wait", {"days": 400, "seconds": 1}),
    ("wait", {"days": 1, "until": X}),
    ("wait", {"weeks": 1}),
    ("wait-for-event", {"types": ["a"]}),
    ("wait-for-event", {"types": [], "days": 1}),
    ("wait-for-event", {"types": ["a/b"], "days": 1}),
    ("wait-for-event", {"types": ["a"] * 21, "days": 1}),
    ("wait-for-event", {"types": ["a"], "days": 401}),
    ("wait-for-event", {"types": ["a"], "days": 1, "until": X}),
    ("wait-for-event", {"types": ["a"], "days": 1, "if": "1 +"}),
    ("set-data", {"values": {}}),
    ("set-data", {"values": {"a-b": "1"}}),
    ("set-data", {"values": {"1a": "1"}}),
    ("set-data", {"values": {"a\n": "1"}}),
    ("set-data", {"values": {"a" * 101: "1"}}),
    ("append-data", {"values": {}}),
    ("append-data", {"values": {"a": 1}}),
    ("remove-data", {"names": []}),
    ("remove-data", {"names": ["a.b"]}),
    ("map-values", {**MAP, "table": {}}),
    ("map-values", {**MAP, "to": "a b"}),
    ("map-values", {**MAP, "table": {str(number): 0 for number in range(1001)}}),
    *(("fill-template", {"text": text, "to": "y"}) for text in ("{", "}", "{}", "{ }", "a { b", "{{{", "{a.b}")),
    *(
        ("fill-template", {"text": f"{{{path}}}", "to": "y"})
        for path in ("event..id", "event.id??", "event.a b", "$event")
    ),
    ("fill-template", {"text": "x" * 10_001, "to": "y"}),
    ("hide", {"value": X, "how": "encrypt", "to": "y"}),
    ("hide", {"value": X, "how": "mask", "shown": 11, "to": "y"}),
    ("hide", {"value": X, "how": "mask", "shown": -1, "to": "y"}),
    ("interest", {"name": "1 +"}),
    ("interest", {"name": X, "by": 1}),
    ("consent", {"consent": "marketing"}),
    ("consent", {"consent": "marketing", "do": "deny"}),
    ("consent", {"consent": "../marketing", "do": "grant"}),
    ("load-profile", {"namespace": "a b", "value": X}),
    ("load-profile", {"namespace": "mail"}),
    ("value-changed", {"value": X, "trait": "a b"}),
    ("is-new", {"what": "session"}),
    ("http-request", {}),
    ("http-request", {**HTTP, "resource": "../crm"}),
    ("http-request", {**HTTP, "method": "get"}),
    ("http-request", {**HTTP, "method": "GET / HTTP/1.1\r\n"}),
    *(
        ("http-request", {**HTTP, "path": path})
        for path in ("a", "@evil", "https://evil", "{event.id}", "/{", "/{x.y}")
    ),
    *(("http-request", {**HTTP, "timeout_s": seconds}) for seconds in (0, -1, 60.1, math.nan, math.inf)),
    *(("http-request", {**HTTP, "retries": retries}) for retries in (-1, 21, 1.5)),
    ("http-request", {**HTTP, "headers": {"X-Tries": 3}}),
    ("http-request", {**HTTP, "query": {"a": 3}}),
    ("query", {**SQL, "sql": ""}),
    ("query", {**SQL, "sql": "x" * 20_001}),
    ("query", {**SQL, "values": {"a": 1}}),
    ("query", {**SQL, "timeout_s": 61}),
    ("send-to-destination", {"destination": "a.b"}),
    ("log", {"message": None}),
]


@pytest.mark.parametrize(("action", "config"), REFUSED, ids=lambda value: repr(value)[:60])
def test_settings_that_cannot_be_meant_are_refused(action: str, config: dict[str, Any]):
    with pytest.raises(ValidationError):
        ACTIONS[action].Config.model_validate(config)


@pytest.mark.parametrize(
    ("action", "config"),
    [
        ("switch", cases(**{f"c{number}": "true" for number in range(50)})),
        ("split", {"shares": {"a": 33.3333, "b": 33.3333, "c": 33.3334}}),
        ("split", {"shares": {f"p{number}": 5 for number in range(20)}}),
        ("wait", {"days": 400}),
        ("wait", {"hours": 9600}),
        ("wait-for-event", {"types": ["Order *", "*"], "days": 400}),
        ("set-data", {"values": {"a" * 100: "1"}}),
        ("fill-template", {"text": "x" * 10_000, "to": "y"}),
        ("http-request", {**ASK, "path": "", "timeout_s": 60, "retries": 20}),
        ("query", {**SQL, "sql": "x" * 20_000, "timeout_s": 0.1, "retries": 0}),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_settings_at_their_limits_are_taken(action: str, config: dict[str, Any]):
    ACTIONS[action].Config.model_validate(config)


@pytest.mark.parametrize("days", [1e9, 1e300, math.inf], ids=repr)
@pytest.mark.parametrize("action", ["wait", "wait-for-event"])
def test_waits_without_an_end_are_refused(action: str, days: float):
    with pytest.raises(ValidationError):
        ACTIONS[action].Config.model_validate({"days": days, **({"types": ["a"]} if "event" in action else {})})


# --- Hostile values ------------------------------------------------------------------------------------------------

TEXTS = [
    *(
        "",
        " ",
        "null",
        "NaN",
        "\0",
        "0",
        "true",
        "..",
        ".",
        "../..",
        "..\\..",
        "%2e%2e",
        "%2E%2E%2f",
        "//evil",
        "@evil",
    ),
    *("{event.id}", "{{}}", "{", "}", "$event.id", "$$", "%s", "%(name)s", "%%", "'; drop table events; --", "?a=b#c"),
    *("a\r\nX-Evil: 1", "a\nb", "\u202egnirts", "e\u0301", "İ", "ß", "\U0001f600", "٣", "x" * 70_000),
]
VALUES: list[Any] = [
    *TEXTS,
    *(None, True, False, 0, -1, 2**53, -(2**53), 2**64, 10**30, 0.1, -0.0, 1e16, 1e100, 1e101, 1e308, 5e-324),
    *([], {}, [None], [[[]]], {"a": None}, {"": {"": []}}, ["a", 1, True, None]),
]
USES: list[tuple[str, dict[str, Any]]] = [
    *((way.action, way.config) for way in WAYS if X in repr(way.config)),
    ("condition", {"if": f"{X} > 3"}),
    ("condition", {"if": f"{X}.y.z == 3 && {X}.size() > 1"}),
    ("wait", {"until": X}),
    ("set-data", {"values": {"y": X, "z": f"{X} + {X}"}}),
    ("append-data", {"values": {"y": X}}),
    ("fill-template", {"text": "{{{event.properties.x}}} {event.properties.x?}", "to": "y"}),
    ("hide", {"value": X, "how": "mask", "shown": 3, "to": "y"}),
    ("copy-to-profile", {"traits": {"t": "x", "u": "x.y", "v": "x.0"}}),
    *(
        ("update-profile", {way: {"t": X}})
        for way in ("set", "set_if_empty", "increment", "decrement", "append", "remove")
    ),
    ("interest", {"name": X, "by": X}),
    ("interest", {"name": '"a"', "by": X}),
    ("emit-event", {"type": "seen", "properties": {"x": X}}),
    ("http-request", {**ASK, "path": "/{event.properties.x}", "query": {"x": X}, "body": {"x": X}}),
    ("query", {**SQL, "values": {"x": X}}),
    ("send-to-destination", {"destination": "crm", "properties": {"x": X}}),
]
USED = [(name, dict(config)) for name, config in {repr(use): use for use in USES}.values()]


def leaves_or_waits(action: str, config: dict[str, Any], properties: dict[str, Any]) -> Ran:
    """Whatever the event holds: one of its ports, or a wait that can be kept; errors are words, and no values."""
    _, _, ran = begin({"n": {"action": action, "config": config}}, properties=properties)
    found = ACTIONS[action]
    ports = {*found.ports_of(found.Config.model_validate(config)), ERROR}
    assert ("n" in ran.state.waiting) != (ran.state.done.get("n") in ports)
    assert all(re.fullmatch(r"[A-Za-z_]{1,40}", error) for _, error in ran.errors), ran.errors
    assert (ran.state.done.get("n") != ERROR) or ran.errors
    return ran


@pytest.mark.parametrize(("action", "config"), USED, ids=lambda value: repr(value)[:60])
def test_no_value_of_an_event_makes_an_action_do_anything_else_than_leave_by_a_port(
    action: str, config: dict[str, Any]
):
    for value in VALUES:
        leaves_or_waits(action, config, {"x": value})
    leaves_or_waits(action, config, {})


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200)
@given(st.sampled_from(USED), ANYTHING)
def test_nor_does_any_value_that_can_be_made_up(use: tuple[str, dict[str, Any]], value: Any):
    ran = leaves_or_waits(*use, {"x": value})
    text = msgspec.json.Encoder(enc_hook=str).encode(ran.state)
    assert msgspec.json.decode(text, type=type(ran.state)) == ran.state


@pytest.mark.parametrize("expression", ["0.0 / 0.0", "1.0 / 0.0", "-1.0 / 0.0", "1 / 0", "9223372036854775807 + 1"])
def test_what_is_no_number_is_no_value(expression: str):
    assert kept("set-data", {"values": {"y": expression}}) == {"y": None}
    assert kept("append-data", {"values": {"y": expression}}) == {}
    assert kept("map-values", {**MAP, "value": expression, "default": "none"}) == {"y": "none"}
    assert kept("hide", {"value": expression, "how": "hash", "to": "y"}) == {"y": None}
    assert decided("wait", {"until": expression}).error == "no_time"
    assert decided("emit-event", {"type": "a", "properties": {"x": expression}}).commands == [Emit("a", {"x": None})]
    assert call({"query": {"x": expression, "y": "1"}}).path == "?y=1"


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text)[:20])
def test_a_text_is_filled_in_as_it_is_and_never_read_as_a_template_again(text: str):
    config = {"text": "<{event.properties.x}|{{event.id}}>", "to": "y"}
    if len(text) > 64_000:
        _, _, ran = begin({"n": {"action": "fill-template", "config": config}}, properties={"x": text})
        assert (ran.state.done, ran.errors, ran.state.data) == ({"n": ERROR}, [("n", "ValueError")], {})
    else:
        assert kept("fill-template", config, x=text) == {"y": f"<{text}|{{event.id}}>"}


@pytest.mark.parametrize(("chars", "port"), [(64_000, "out"), (64_001, ERROR)])
def test_a_text_may_become_so_long(chars: int, port: str):
    nodes = {"n": {"action": "fill-template", "config": {"text": "{event.properties.x}", "to": "y"}}}
    assert begin(nodes, properties={"x": "x" * chars})[2].state.done["n"] == port


@pytest.mark.parametrize(
    ("value", "text"),
    [(True, "true"), (False, "false"), (0, "0"), (12.5, "12.5"), (-7, "-7"), (None, ""), ("", "")],
    ids=repr,
)
def test_numbers_and_truth_values_are_written_as_json_writes_them(value: Any, text: str):
    assert kept("fill-template", {"text": "{event.properties.x?}", "to": "y"}, x=value) == {"y": text}


@pytest.mark.parametrize("value", [None, [], {}, [1], {"a": 1}], ids=repr)
def test_a_text_has_no_place_for_what_is_no_text(value: Any):
    nodes = {"n": {"action": "fill-template", "config": {"text": "{event.properties.x}", "to": "y"}}}
    assert begin(nodes, properties={"x": value})[2].errors == [("n", "Unfilled")]


# --- Requests ------------------------------------------------------------------------------------------------------


def check_path(text: str) -> None:
    """It is one segment, of this text, behind the resource's url: nothing else moves."""
    outcome = decided("http-request", {**ASK, "path": "/a/{event.properties.x}/b"}, properties={"x": text})
    if text in (".", ".."):
        assert (outcome.error, outcome.wait) == ("path_leads_elsewhere", None)
    else:
        assert isinstance(outcome.wait, HttpCall)
        assert re.fullmatch(r"/a/[A-Za-z0-9_.~%-]*/b", outcome.wait.path)
        url = urlsplit("https://crm.example/base" + outcome.wait.path)
        assert (url.netloc, url.query, url.fragment) == ("crm.example", "", "")
        assert [unquote(part) for part in url.path.split("/")] == ["", "base", "a", text, "b"]


@pytest.mark.parametrize("text", TEXTS[:-1], ids=repr)
def test_what_is_put_into_a_path_stays_one_part_of_it(text: str):
    check_path(text)


@given(st.text() | st.text("./%2eE\\?#;@:"))
def test_whatever_text_it_is(text: str):
    check_path(text)


@pytest.mark.parametrize(
    "path", ["/a/.{event.properties.x}", "/a/{event.properties.x}{event.properties.x}/b", "/{event.properties.x}./b"]
)
def test_a_path_does_not_lead_elsewhere_in_pieces_either(path: str):
    assert decided("http-request", {**ASK, "path": path}, properties={"x": "."}).error == "path_leads_elsewhere"


def test_a_path_that_leads_elsewhere_is_seen_though_its_dots_are_written_otherwise():
    config = {**ASK, "path": "/a/%2e{event.properties.x}/b"}
    assert decided("http-request", config, properties={"x": "."}).error == "path_leads_elsewhere"


@pytest.mark.parametrize(
    "config",
    [
        {"path": "/a\r\nX-Evil: 1"},
        {"path": "/a/{event.properties.x}?full=1"},
        {"path": "/a/%2e%2e/b"},
        {"path": "/a/../b"},
        {"path": "/a#b"},
        {"path": "/a b"},
        {"headers": {"X-A": "1\r\nX-Evil: 1"}},
        {"headers": {"X-A\r\n": "1"}},
        {"headers": {"": "1"}},
    ],
    ids=repr,
)
def test_a_request_that_cannot_be_sent_is_refused(config: dict[str, Any]):
    with pytest.raises(ValidationError):
        ACTIONS["http-request"].Config.model_validate({**ASK, **config})


def test_a_request_is_all_that_the_settings_say_of_it():
    config = {
        "method": "PUT",
        "path": "/people/{profile.id}",
        "query": {"q": X, "gone": "event.properties.gone"},
        "body": {"x": X, "gone": "event.properties.gone"},
        "headers": {"X-A": "{event.id}"},
        "timeout_s": 2.5,
        "retries": 0,
    }
    assert call(config, x="a&b=c d") == HttpCall(
        "crm", "PUT", "/people/p?q=a%26b%3Dc+d", {"x": "a&b=c d", "gone": None}, {"X-A": "{event.id}"}, 2.5, 0
    )
    assert call({}) == HttpCall("crm", "GET", "", None, {}, 10, 3)


@given(st.dictionaries(st.text(max_size=4), st.text(), max_size=3))
def test_a_query_is_read_as_it_was_written(values: dict[str, str]):
    query = {name: f"event.properties.x{number}" for number, name in enumerate(values)}
    found = call({"path": "/a", "query": query}, **{f"x{number}": text for number, text in enumerate(values.values())})
    url = urlsplit(f"https://crm.example{found.path}")
    assert url.path == "/a"
    assert dict(parse_qsl(url.query, keep_blank_values=True)) == values


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (["a"], '["a"]'), ({"a": None}, '{"a": null}')], ids=repr)
def test_values_in_a_query_are_written_as_json_writes_them(value: Any, text: str):
    (found,) = dict(parse_qsl(urlsplit(call({"path": "/a", "query": {"x": X}}, x=value).path).query)).values()
    assert found.replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text)[:20])
def test_values_never_become_part_of_a_statement(text: str):
    sql = "select %(x)s, '{event.id}'"
    outcome = decided("query", {**ASK, "sql": sql, "values": {"x": X}}, properties={"x": text})
    assert outcome.wait == QueryCall("crm", sql, {"x": text}, 10, 3)


@pytest.mark.parametrize(("value", "asked"), [("a b", "a b"), (7, "7"), (-1, "-1"), ("٣", "٣")], ids=repr)
def test_a_profile_is_asked_for_by_texts_and_whole_numbers(value: Any, asked: str):
    outcome = decided("load-profile", {"namespace": "mail", "value": X}, properties={"x": value})
    assert outcome.wait == ProfileCall("mail", asked)


@pytest.mark.parametrize("value", [None, 7.5, [], ["a"], {}], ids=repr)
def test_nobody_is_asked_for_by_anything_else(value: Any):
    outcome = decided("load-profile", {"namespace": "mail", "value": X}, properties={"x": value})
    assert (outcome.port, outcome.wait) == ("unknown", None)


def test_an_answer_is_kept_under_the_name_of_its_node_for_those_behind_it():
    for number, (action, config, answer) in enumerate(
        [
            ("http-request", HTTP, {"status": 200, "body": {"a": "b"}}),
            ("query", SQL, [{"a": "b"}]),
            ("load-profile", {"namespace": "mail", "value": '"a"'}, {"id": "q"}),
            ("wait-for-event", {"types": ["*"], "days": 1}, {"id": "e", "properties": {}}),
        ]
    ):
        name = f"ask-{number}"
        after = {"action": "set-data", "config": {"values": {"y": f'data["{name}"]'}}}
        graph, run, ran = begin({name: {"action": action, "config": config, "then": ["n"]}, "n": after})
        assert advance(graph, ran.state, run, {name: Answer(answer)}).state.data == {name: answer, "y": answer}


# --- Data ----------------------------------------------------------------------------------------------------------


def test_values_are_appended_to_lists_and_begin_them():
    config = {"values": {"y": X}}
    assert kept("append-data", config, x=1) == {"y": [1]}
    assert kept("append-data", config, {"y": [1, 1]}, x=1) == {"y": [1, 1, 1]}
    assert kept("append-data", config, {"y": "a"}, x=[2]) == {"y": ["a", [2]]}
    assert kept("append-data", config, {"y": [1]}) == {}


def test_what_is_appended_to_is_not_changed_for_who_has_it_already():
    data = {"y": [1]}
    kept("append-data", {"values": {"y": X}}, data, x=2)
    assert data == {"y": [1]}


def test_what_is_removed_is_nothing_to_the_nodes_after():
    nodes = {
        "a": {"action": "set-data", "config": {"values": {"y": "1", "z": "2", "none": "null"}}, "then": ["b"]},
        "b": {"action": "remove-data", "config": {"names": ["y", "never"]}, "then": ["c"]},
        "c": {"action": "condition", "config": {"if": 'has(data.y) || !has(data.z) || "none" in data'}},
    }
    ran = begin(nodes)[2]
    assert (ran.state.data, ran.state.done["c"], ran.commands) == ({"z": 2}, "false", [])


def test_a_value_that_the_table_does_not_have_keeps_the_default():
    assert kept("map-values", {**MAP, "default": 0}, x="two") == {"y": 0}
    assert kept("map-values", MAP, x="two") == {"y": None}
    assert kept("map-values", MAP, x=1) == {"y": "one"}
    assert kept("map-values", MAP, x=True) == {"y": "yes"}


def test_what_is_missing_keeps_the_default_whatever_the_table_has():
    assert kept("map-values", {**MAP, "table": {"None": "a name"}, "default": "none"}) == {"y": "none"}


@pytest.mark.parametrize("text", ["A@B.example", " a@b.example\n", "a@b.EXAMPLE"])
def test_a_hash_is_the_same_however_it_was_written(text: str):
    # printf 'a@b.example' | sha256sum
    known = "ebb18a030bf15174f5714e24d63af1a81355c951ea7389bd2a9bd18e3d0c2477"
    assert kept("hide", {"value": X, "how": "hash", "to": "y"}, x=text) == {"y": known}


@pytest.mark.parametrize(
    ("text", "shown", "masked"),
    [
        ("4111222233334444", 4, "************4444"),
        ("12345678", 4, "****5678"),
        ("1234567", 4, "*******"),
        ("secret", 0, "******"),
        ("", 3, ""),
        ("\U0001f600\U0001f600ab", 2, "**ab"),
        (True, 0, "****"),
        (12345, 2, "***45"),
    ],
)
def test_a_mask_shows_the_end_and_nothing_of_what_is_shorter_than_twice_that(text: Any, shown: int, masked: str):
    assert kept("hide", {"value": X, "how": "mask", "shown": shown, "to": "y"}, x=text) == {"y": masked}


# --- Profiles ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "by", "step"), [("sport", "1", "1"), ("s" * 100, "-0.25", "-0.25"), ("ü.x", "0", "0")]
)
def test_an_interest_is_a_total(name: str, by: str, step: str):
    outcome = decided("interest", {"name": X, "by": by}, properties={"x": name})
    assert outcome.commands == [Increment(f"interests.{name}", Decimal(step))]


@pytest.mark.parametrize("name", [None, "", "s" * 101, 5, True, ["sport"], {"a": 1}], ids=lambda name: repr(name)[:20])
def test_an_interest_is_of_a_short_text(name: Any):
    outcome = decided("interest", {"name": X}, properties={"x": name})
    assert (outcome.error, outcome.commands) == ("no_interest", [])


@pytest.mark.parametrize(("do", "given_"), [("grant", True), ("revoke", False)])
def test_a_consent_is_said_by_an_event(do: str, given_: bool):
    outcome = decided("consent", {"consent": "marketing", "do": do})
    assert outcome.commands == [Emit("consent-update", {"consents": {"marketing": given_}})]


def test_a_value_that_changed_is_the_same_the_next_time():
    node = {"action": "value-changed", "config": {"value": X, "trait": "t"}}
    graph, run, ran = begin({"n": node}, {"t": 1}, properties={"x": [1, {"a": None}]})
    assert ran.state.done == {"n": "changed"}
    assert run_workflow(graph, Run(run.event, run.profile)).state.done == {"n": "same"}


@pytest.mark.parametrize(("before", "now"), [(True, 1), (0, False), ([1], [True])], ids=repr)
def test_a_truth_value_is_another_value_than_a_number(before: Any, now: Any):
    node = {"action": "value-changed", "config": {"value": X, "trait": "t"}}
    assert begin({"n": node}, {"t": before}, properties={"x": now})[2].state.done == {"n": "changed"}


@pytest.mark.parametrize(
    ("action", "config"),
    [
        ("set-data", {"values": {"y": "profile.traits.ssn"}}),
        ("append-data", {"values": {"y": "profile.traits.ssn"}}),
        ("fill-template", {"text": "{profile.traits.ssn}", "to": "y"}),
    ],
)
def test_a_private_trait_does_not_leave_by_way_of_data(action: str, config: dict[str, Any]):
    nodes = {
        "keep": {"action": action, "config": config, "then": ["send"]},
        "send": {"action": "send-to-destination", "config": {"destination": "crm", "properties": {"y": "data.y"}}},
    }
    known = definitions(
        {"kind": "trait", "id": "ssn", "private": True},
        {"kind": "destination", "id": "crm"},
        {"kind": "workflow", "id": "w", "nodes": nodes},
    )
    assert list(private_sent(known)) != []


# --- Waits ---------------------------------------------------------------------------------------------------------


def waiting(action: str, config: dict[str, Any], resumed_at: datetime | None = None, **fields: Any) -> Outcome:
    made = Run(event(1, **{"received_at": moment(100), **fields}), ProfileState({}, {}), None, resumed_at)
    return ACTIONS[action].run(ACTIONS[action].Config.model_validate(config), made)


@pytest.mark.parametrize(
    ("span", "seconds"),
    [
        ({"days": 1}, 86_400),
        ({"days": 1.5, "hours": 2, "minutes": 3, "seconds": 4}, 129_600 + 7_200 + 180 + 4),
        ({"seconds": 0.001}, 0.001),
        ({"hours": 9_600}, 400 * 86_400),
    ],
    ids=repr,
)
def test_a_wait_begins_when_the_event_was_received_or_when_the_run_went_on(span: dict[str, float], seconds: float):
    assert waiting("wait", span).wait == Until(moment(100 + seconds))
    assert waiting("wait", span, moment(5000)).wait == Until(moment(5000 + seconds))
    named = {"types": ["Order *", "page view"], **span}
    assert waiting("wait-for-event", named).wait == ForEvent(("order-*", "page-view"), moment(100 + seconds))
    assert waiting("wait-for-event", named, moment(5000)).wait == ForEvent(
        ("order-*", "page-view"), moment(5000 + seconds)
    )


@pytest.mark.parametrize(
    ("until", "at"),
    [
        ('"2026-03-01T12:00:00Z"', datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ('"2026-03-01T12:00:00"', datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ('"2026-03-01T12:00:00.5+05:30"', datetime(2026, 3, 1, 6, 30, 0, 500_000, tzinfo=UTC)),
        ('"2026-03-01"', datetime(2026, 3, 1, tzinfo=UTC)),
        ('timestamp("2026-03-01T12:00:00-01:00")', datetime(2026, 3, 1, 13, tzinfo=UTC)),
        ('event.time + duration("36h")', moment(1) + timedelta(hours=36)),
        (X, datetime(2026, 2, 2, 2, 2, 2, tzinfo=UTC)),
    ],
)
def test_a_wait_until_a_time_is_until_then(until: str, at: datetime):
    outcome = waiting("wait", {"until": until}, properties={"x": "2026-02-02T02:02:02+00:00"})
    assert (outcome.wait, outcome.error) == (Until(at), "")


@pytest.mark.parametrize(
    "x",
    [None, "", "soon", 5, True, ["2026-03-01"], "2026-02-30", "1767225600", "\u0662\u0660\u0662\u0666-03-01"],
    ids=repr,
)
def test_what_is_no_time_cannot_be_waited_for(x: Any):
    assert waiting("wait", {"until": X}, properties={"x": x}).error == "no_time"


@pytest.mark.parametrize("x", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
def test_a_time_that_no_clock_shows_is_an_error(x: str):
    node = {"action": "wait", "config": {"until": X}}
    assert begin({"n": node}, properties={"x": x})[2].state.done == {"n": ERROR}


def test_a_time_in_small_letters_is_a_time():
    outcome = waiting("wait", {"until": '"2026-03-01t12:00:00z"'})
    assert outcome.wait == Until(datetime(2026, 3, 1, 12, tzinfo=UTC))


def test_a_time_that_is_past_is_not_waited_for_and_one_too_far_away_is_an_error():
    def until(at: datetime, resumed_at: datetime | None = None) -> Outcome:
        return waiting("wait", {"until": X}, resumed_at, properties={"x": at.isoformat()})

    tick = timedelta(microseconds=1)
    farthest = moment(100) + timedelta(days=400)
    assert until(moment(100)) == Outcome()
    assert until(moment(100) + tick).wait == Until(moment(100) + tick)
    assert until(moment(200), moment(200)) == Outcome()
    assert until(farthest).wait == Until(farthest)
    assert until(farthest + tick).error == "too_far_away"


@pytest.mark.parametrize(
    ("seconds", "is_over", "is_wanted"), [(99, False, True), (100, True, False), (101, True, False)]
)
def test_an_event_that_comes_when_the_time_is_over_is_too_late(seconds: float, is_over: bool, is_wanted: bool):
    nodes = {
        "e": {"action": "wait-for-event", "config": {"types": ["order-*"], "seconds": 99}},
        "t": {"action": "wait", "config": {"seconds": 99}},
    }
    state = begin(nodes)[2].state
    assert state.due_at == moment(100)
    assert state.awaits == ["order-*"]
    assert over(state, moment(seconds)) == ({"e": LATE, "t": Answer()} if is_over else {})
    assert wants(state, "order-placed", moment(seconds)) == (["e"] if is_wanted else [])
    assert wants(state, "reorder", moment(seconds)) == []


@pytest.mark.parametrize(
    ("condition", "takes"),
    [
        (None, True),
        ("event.properties.id == data.id", True),
        ("event.properties.id == data.other", False),
        ("event.properties.missing == 1", False),
        ("event.properties.id", False),
        ("profile.traits.id == event.properties.id", True),
    ],
)
def test_an_event_that_came_is_taken_where_the_condition_holds_of_it(condition: str | None, takes: bool):
    action = ACTIONS["wait-for-event"]
    config = action.Config.model_validate({"types": ["*"], "days": 1} | ({"if": condition} if condition else {}))
    state, data = ProfileState({"id": Trait("7", 0, "")}, {}), {"id": "7", "other": "8"}
    own, other = Run(event(1), state, data), Run(event(2, properties={"id": "7"}), state, data)
    assert action.takes(config, own, other) is takes


# --- Splits --------------------------------------------------------------------------------------------------------

PEOPLE = 20_000


def likely(number: int, share: float, doubt: float = 1e-9) -> range:
    """How many of so many it is, but for so little doubt at either end: from the binomial distribution itself."""

    def chance(count: int) -> float:
        ways = math.lgamma(number + 1) - math.lgamma(count + 1) - math.lgamma(number - count + 1)
        return math.exp(ways + count * math.log(share) + (number - count) * math.log1p(-share))

    def end(counts: Iterator[int]) -> int:
        sum_so_far = 0.0
        for count in counts:
            sum_so_far += chance(count)
            if sum_so_far > doubt:
                return count
        raise AssertionError("the chances are 1 together")

    return range(end(iter(range(number + 1))), end(iter(range(number, -1, -1))) + 1)


def ways_of(shares: dict[str, float], workflow: str = "w", node: str = "n", key: str = "profile") -> list[str]:
    """The ways that people take, one after another."""
    action: Action[Any] = ACTIONS["split"]
    config, ways = action.Config.model_validate({"shares": shares}), []
    for number in range(PEOPLE):
        made = Run(event(number, **{key: f"person-{number}"}), ProfileState({}, {}))
        made.workflow, made.node = workflow, node
        ways.append(action.run(config, made).port)
    return ways


@pytest.mark.parametrize("key", ["profile", "id"])
def test_a_split_divides_people_as_its_shares_say(key: str):
    shares = {"a": 50, "b": 30, "c": 19.9, "d": 0.1}
    ways = ways_of(shares, key=key)
    for port, share in shares.items():
        assert ways.count(port) in likely(PEOPLE, share / 100), port


def test_the_same_person_always_takes_the_same_way_whatever_the_event():
    shares = {"a": 50, "b": 50}
    nodes = {"n": {"action": "split", "config": {"shares": shares}}}
    for number, port in enumerate(ways_of(shares)[:50]):
        fields = {"profile": f"person-{number}", "id": "another", "properties": {"x": number}, "type": "order"}
        assert begin(nodes, {"t": number}, **fields)[2].state.done == {"n": port}


@pytest.mark.parametrize(("workflow", "node"), [("w", "m"), ("v", "n"), ("", "wn")])
def test_splits_of_different_nodes_divide_independently_of_each_other(workflow: str, node: str):
    first, second = {"a": 50, "b": 40, "c": 10}, {"a": 50, "b": 25, "c": 25}
    both = list(zip(ways_of(first), ways_of(second, workflow, node), strict=True))
    for one, share in first.items():
        for other, its_share in second.items():
            assert both.count((one, other)) in likely(PEOPLE, share * its_share / 10_000), (one, other)


def test_who_is_added_to_a_share_was_in_the_last_one_before():
    before, after = ways_of({"a": 10, "b": 90}), ways_of({"a": 30, "b": 70})
    moved = [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]
    assert set(moved) == {("b", "a")}
    assert len(moved) in likely(PEOPLE, 0.2)
