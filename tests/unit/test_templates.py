"""Object templates: what a path stands for, what is left out, what cannot be filled, what is refused."""

import pytest

from workflows.templates import Template, TemplateError, Unfilled

VALUES = {
    "event": {"type": "order", "properties": {"id": 7, "none": None, "lines": [{"sku": "a"}, {"sku": "b"}]}},
    "session": {},
}


def filled(template: object) -> object:
    return Template(template, VALUES).fill(VALUES)


def test_a_text_with_a_dollar_stands_for_what_lies_there_and_everything_else_for_itself():
    template = {
        "order": {"id": "$event.properties.id", "kind": "$event.type", "tax": 0.19, "paid": True, "note": None},
        "first": "$event.properties.lines.0.sku",
        "all": ["$event.properties.lines", "plain", "$$9.99", "a $ inside"],
    }
    assert filled(template) == {
        "order": {"id": 7, "kind": "order", "tax": 0.19, "paid": True, "note": None},
        "first": "a",
        "all": [[{"sku": "a"}, {"sku": "b"}], "plain", "$9.99", "a $ inside"],
    }


def test_null_is_a_value_and_what_is_missing_is_left_out_where_it_may_be():
    assert filled({"n": "$event.properties.none?", "gone": "$event.properties.gone?", "list": ["$session.id?", 1]}) == {
        "n": None,
        "list": [1],
    }


@pytest.mark.parametrize(
    "path",
    ["event.properties.gone", "event.properties.lines.2", "event.properties.lines.sku", "event.type.x", "session.id"],
)
def test_a_path_that_leads_nowhere_is_named(path: str):
    with pytest.raises(Unfilled) as raised:
        filled({"a": {"b": [f"${path}"]}})
    assert raised.value.path == path


@pytest.mark.parametrize("wrong", ["$", "$event..type", "$event.", "$5 off", "$profile.id", "$event.type??"])
def test_what_is_no_path_is_refused_when_it_is_written(wrong: str):
    with pytest.raises(TemplateError):
        Template({"a": [wrong]}, VALUES)


def test_a_template_does_not_change_what_it_copies_from():
    made = filled({"lines": "$event.properties.lines", "fixed": {"a": 1}})
    assert isinstance(made, dict)
    made["fixed"]["a"] = 2
    assert filled({"fixed": {"a": 1}}) == {"fixed": {"a": 1}}
