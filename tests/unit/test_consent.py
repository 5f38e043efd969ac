"""Consents: what counts as a yes, what holds, and what is done to events without; it never fails open."""

import hashlib
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from schemas.definitions import DEFINITION
from schemas.events import ValidEvent
from tests.unit.making import definitions, event, moment
from workflows.consent import ConsentBook, Governed, Statement, given, holds, stated_by
from workflows.definitions import dangling
from workflows.identifiers import identifier_value
from workflows.known import Birth, Known

ADS: dict[str, Any] = {"kind": "consent", "id": "ads"}
MAIL: dict[str, Any] = {"kind": "consent", "id": "mail", "expires_days": 30}
FUNCTION: dict[str, Any] = {"kind": "consent", "id": "function", "default": "grant"}


def yes(at: float = 0) -> Statement:
    return Statement(True, moment(at), "e")


def no(at: float = 0) -> Statement:
    return Statement(False, moment(at), "e")


def said(event: ValidEvent) -> dict[str, bool]:
    return {name: one.granted for name, one in stated_by(event, definitions(ADS, MAIL)).items()}


@pytest.mark.parametrize("value", [True, "granted"])
def test_a_clear_yes_is_a_yes(value: Any):
    assert said(event(context={"consents": {"ads": value}})) == {"ads": True}


@pytest.mark.parametrize("value", [False, None, 0, 1, 1.0, "yes", "true", "denied", "", [], [True], {"granted": True}])
def test_what_is_no_clear_yes_is_a_no(value: Any):
    assert said(event(context={"consents": {"ads": value}})) == {"ads": False}


def test_consents_are_said_in_any_context_and_in_the_properties_of_an_update_alone():
    sent = {"consents": {"ads": True, "unheard-of": True}}
    assert said(event(type="consent-update", properties=sent)) == {"ads": True}
    assert said(event(type="page-view", properties=sent)) == {}
    assert said(event(type="consent-update", properties=sent, context={"consents": {"ads": False, "mail": True}})) == {
        "ads": True,
        "mail": True,
    }
    for nonsense in ("ads", ["ads"], None, True):
        assert said(event(context={"consents": nonsense})) == {}


def test_nobody_has_agreed_to_what_they_said_nothing_of():
    known = definitions(ADS, FUNCTION)
    assert not holds("ads", {}, moment(0), known)
    assert not holds("unheard-of", {"unheard-of": yes()}, moment(0), known)
    assert holds("function", {}, moment(0), known)
    assert not holds("function", {"function": no()}, moment(0), known)
    assert given({"ads": yes()}, moment(0), known) == {"ads": True, "function": True}


def test_a_grant_ends_when_its_time_is_over():
    known = definitions(MAIL)
    month = timedelta(days=30).total_seconds()
    assert holds("mail", {"mail": yes(5)}, moment(5 + month - 1), known)
    assert not holds("mail", {"mail": yes(5)}, moment(5 + month), known)


SHOP: dict[str, Any] = {"kind": "source", "id": "shop"}
PROTECTED: dict[str, Any] = {
    "kind": "compliance",
    "id": "gdpr",
    "event_type": "order",
    "protected": [
        {"property": "customer.mail", "consents": ["mail"], "otherwise": "hash"},
        {"property": "customer.phone", "consents": ["mail", "ads"]},
        {"property": "sum", "consents": ["ads"], "otherwise": "keep"},
        {"context": "ip", "consents": ["ads"]},
    ],
}
ORDER: dict[str, Any] = {"customer": {"mail": "a@b.example", "phone": "1"}, "sum": 7}


def hide(name: str, value: str) -> str:
    return hashlib.md5(f"{name}|{value}".encode()).hexdigest()


HIDDEN = "hashed:" + hide("property customer.mail", '"a@b.example"')


def book(*bodies: dict[str, Any], **statements: Statement) -> ConsentBook:
    return ConsentBook({"p": statements}, definitions(ADS, MAIL, *bodies), hide)


def complied(rules: ConsentBook, **fields: Any) -> tuple[Any, Any]:
    sent = event(**{"type": "order", "properties": ORDER, "context": {"ip": "10.0.0.1", "page": 1}, **fields})
    made = rules.comply("p", sent)
    return msgspec.json.decode(made.properties), msgspec.json.decode(made.context)


def test_without_consent_what_is_protected_is_erased_or_hashed_and_the_rest_stays():
    assert complied(book(PROTECTED)) == (
        {"customer": {"mail": HIDDEN}, "sum": 7},
        {"page": 1},
    )
    assert complied(book(PROTECTED, mail=yes())) == ({"customer": {"mail": "a@b.example"}, "sum": 7}, {"page": 1})
    assert complied(book(PROTECTED, mail=yes(), ads=yes())) == (ORDER, {"ip": "10.0.0.1", "page": 1})


def test_what_is_not_there_needs_no_consent():
    assert complied(book(PROTECTED), properties={"customer": "c1"}, context={}) == ({"customer": "c1"}, {})
    assert complied(book(PROTECTED), properties={}, context={}) == ({}, {})


def test_a_rule_is_for_its_type_and_source_or_for_all():
    assert complied(book(PROTECTED), type="page-view")[0] == ORDER
    assert complied(book({**PROTECTED, "source": "app"}), source="shop")[0] == ORDER
    everything = {"kind": "compliance", "id": "all", "protected": PROTECTED["protected"]}
    made, _ = complied(book(everything), type="page-view", source="app")
    assert made == {"customer": {"mail": HIDDEN}, "sum": 7}
    assert complied(book({**PROTECTED, "enabled": False}))[0] == ORDER


STRICT: dict[str, Any] = {"kind": "source", "id": "shop", "requires_consent": ["ads"]}


def let_in(rules: ConsentBook, *events: ValidEvent, known: Known | None = None) -> tuple[list[str], Governed]:
    birth = Birth("p", moment(0))
    governed = Governed(rules, known or Known({("shop", "s1"): birth}, {}, {"p": birth}), True)
    return [event.id for event in governed.let_in(events)], governed


def test_a_source_that_requires_consent_gets_nothing_in_without_it():
    visit = event(1, session="s1", profile="p")
    assert let_in(book(STRICT), visit)[0] == []
    assert let_in(book(STRICT, ads=no()), visit)[0] == []
    assert let_in(book(STRICT, ads=yes()), visit)[0] == [visit.id]
    assert let_in(book(STRICT, ads=yes()), event(2, session="other", profile="stranger"))[0] == []


def test_what_an_event_says_itself_counts_for_it_and_what_comes_after():
    grant = event(1, session="s1", profile="p", context={"consents": {"ads": True}})
    later = event(2, session="s1", profile="p")
    revoke = event(3, session="s1", profile="p", type="consent-update", properties={"consents": {"ads": False}})
    last = event(4, session="s1", profile="p")
    ids, governed = let_in(book(STRICT), event(0, session="s1", profile="p"), grant, later, revoke, last)
    assert ids == [grant.id, later.id]
    for one in (grant, later):
        governed.settle(one, "p")
    governed.settle_dropped()
    # The revocation was dropped, and counts.
    assert {key: statement.granted for key, statement in governed.news.items()} == {("p", "ads"): False}
    assert [(job.profile, job.changed) for job in governed.jobs()] == [("p", ["consents.ads"])]


def test_a_late_word_does_not_undo_a_later_one():
    ids, governed = let_in(
        book(STRICT, ads=no(100)), event(50, session="s1", profile="p", context={"consents": {"ads": True}})
    )
    assert ids == []
    assert governed.news == {}


def test_strangers_of_whom_nothing_is_known_leave_nothing_behind():
    stranger = event(1, session="new", profile="stranger", context={"consents": {"ads": False}})
    ids, governed = let_in(book(STRICT), stranger)
    governed.settle_dropped()
    assert (ids, governed.news, governed.dropped) == ([], {}, [stranger])


def test_whoever_an_event_turns_out_to_be_must_have_agreed_too():
    rules = book(SHOP, PROTECTED, mail=yes(), ads=yes())
    sent = event(1, session="s1", profile="p", type="order", properties=ORDER)
    ids, governed = let_in(rules, sent)
    assert ids == [sent.id]
    settled = governed.settle(sent, "somebody else")
    assert "phone" not in msgspec.json.decode(settled.properties)["customer"]
    assert governed.settle(sent, "p").properties == sent.properties


@pytest.mark.parametrize(
    "body",
    [
        STRICT,
        PROTECTED,
        {"kind": "destination", "id": "crm", "consents": ["ads"]},
    ],
)
def test_a_consent_that_is_not_defined_is_reported(body: dict[str, Any]):
    definition = DEFINITION.validate_python(body)
    assert any("there is no consent" in line for line in dangling({definition.key: definition}))
    known = {one.key: one for one in map(DEFINITION.validate_python, (body, ADS, MAIL))}
    assert dangling(known) == []


@pytest.mark.parametrize("wrong", [{}, {"property": "a", "context": "b"}])
def test_what_is_protected_is_a_property_or_a_part_of_the_context(wrong: dict[str, Any]):
    with pytest.raises(ValueError):
        DEFINITION.validate_python({**PROTECTED, "protected": [{"consents": ["ads"], **wrong}]})


def test_a_hashed_value_identifies_nobody_and_is_not_hashed_again():
    rules = book(PROTECTED)
    once = rules.comply("p", event(type="order", properties=ORDER))
    assert rules.comply("p", once).properties == once.properties
    assert identifier_value(msgspec.json.decode(once.properties)["customer"]["mail"], "email") is None


def test_what_only_looks_like_a_hash_is_erased_and_hashed_like_anything_else():
    sent = {"customer": {"mail": "hashed:a@b.example", "phone": "hashed:" + "0" * 32}}
    made, _ = complied(book(PROTECTED), properties=sent)
    assert made == {"customer": {"mail": "hashed:" + hide("property customer.mail", '"hashed:a@b.example"')}}
