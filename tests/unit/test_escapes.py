"""What people write to get out of conditions, templates and patterns: into Python, into files, into somebody's time.

A condition or template may be refused, have no value, or be plain text: never more than what lies in its variables.
"""

from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.definitions.inbound import EventTypeDefinition
from workflows.conditions import Condition, ConditionError, Context
from workflows.definitions import EventSchema
from workflows.templates import Template, TemplateError, TextTemplate, Unfilled

#: A value that must not turn up: what an escape would find.
CANARY = "canary-8f31"


class Secretive(dict[str, Any]):
    """A map with more to it than its items."""

    secret = CANARY


VALUES: dict[str, Any] = {
    "event": Secretive(
        type="order", text="{0.__class__} ${jndi:ldap://x} {{7*7}}", n=1, list=[1, 2], time=datetime.now(UTC)
    ),
}
TEXTS = [
    "event.__class__",
    "event.secret",
    'event["secret"]',
    'event["__class__"]',
    "event.type.__class__.__mro__",
    "event.type.__len__",
    "event.keys",
    "event.__init__.__globals__",
    "event.list.append",
    "__import__",
    "__builtins__",
    "globals",
    "os.environ",
    "self",
    "this",
    "cel",
]
CALLS = [
    '__import__("os").system("true")',
    'open("/etc/passwd")',
    'eval("1")',
    'exec("1")',
    "globals()",
    'getattr(event, "secret")',
    "event.__class__()",
    "event.keys()",
    'event.type.format("x")',
    'event.type.encode("utf-8")',
    'event.get("secret")',
    "event.pop('type')",
    "event.list.append(3)",
    "dyn(event).secret",
    "type(event).__name__",
    'env("HOME")',
    'httpGet("http://169.254.169.254/")',
    "lambda: 1",
    "[x for x in event]",
    "event := 1",
    "event.type = 'x'",
    "event.type; event.n",
    "{}.__class__.__bases__[0].__subclasses__()",
]


@pytest.mark.parametrize("source", [*TEXTS, *CALLS])
def test_a_condition_sees_its_variables_and_nothing_behind_them(source: str):
    context = Context({"event": lambda: VALUES["event"]})
    try:
        value = Condition(source).value(context)
    except ConditionError:
        return
    assert value is None
    assert [noted for noted, _ in context.errors] == [source]
    assert VALUES["event"]["type"] == "order"
    assert VALUES["event"]["list"] == [1, 2]


@pytest.mark.parametrize("path", [text.replace('["', ".").replace('"]', "") for text in TEXTS])
def test_a_template_sees_its_values_and_nothing_behind_them(path: str):
    for make in (lambda: Template(f"${path}", VALUES), lambda: TextTemplate(f"{{{path}}}", VALUES)):
        try:
            made = make().fill(VALUES)  # type: ignore[no-untyped-call]
        except (TemplateError, Unfilled):
            continue
        pytest.fail(f"{path} became {made!r}")


@pytest.mark.parametrize(
    "text",
    ["{{7*7}}", "{%% import os %%}", "<%= 7*7 %>", "#{7*7}", "%(event)s", "$${event.type}", "\\u007bevent\\u007d"],
)
def test_the_languages_of_other_templates_are_plain_text(text: str):
    assert "49" not in str(Template({"a": text}, VALUES).fill(VALUES))


def test_what_a_value_says_is_not_filled_in_again():
    assert TextTemplate("{event.text}", VALUES).fill(VALUES) == VALUES["event"]["text"]
    assert Template("$event.text", VALUES).fill(VALUES) == VALUES["event"]["text"]


#: Exponential, or worse than linear, where a pattern is tried by going back.
SLOW = [r"^(a+)+$", r"^(a|aa)+$", r"^(a|a)*$", r"^(.*a){20}$", r"(a*)*b", r"^(([a-z])+.)+[A-Z]$", r"(x+x+)+y", r"\s+$"]


@pytest.mark.timeout(20)
@pytest.mark.parametrize("pattern", SLOW)
def test_no_pattern_takes_the_time_of_others(pattern: str):
    text = "a" * 20_000 + " " * 20_000 + "!"
    context = Context({"text": lambda: text})
    Condition(f"text.matches({pattern!r})").value(context)
    assert context.errors == []
    schema = {"properties": {"text": {"type": "string", "pattern": pattern}}}
    EventSchema(EventTypeDefinition(id="order", properties_schema=schema)).reasons({"text": text})


@pytest.mark.parametrize(
    "pattern", [r"(a)\1", r"(?=a)a", r"(?<!a)b", r"(?>a)b", r"(?P>x)", "(?(1)a|b)", r"a{2000000000}"]
)
def test_patterns_that_need_going_back_are_no_patterns(pattern: str):
    context = Context({"text": lambda: "aab"})
    source = 'text.matches("{}")'.format(pattern.replace("\\", "\\\\"))
    assert Condition(source).value(context) is None
    assert context.errors
