"""Consents: what counts as a yes, what holds, and what is done to events without; it never fails open."""

import hashlib
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from schemas.definitions import DEFINITION
from schemas.events import ValidEvent
from tests.unit.making import definitions, event, moment
from workflows.consent import ConsentBook, Statement, given, holds, stated_by
from workflows.identification import Shown
from workflows.identifiers import identifier_value
from workflows.known import Birth, Known, Sighting, Stored
from workflows.references import dangling
from workflows.resolving import resolve

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
    made = rules.judge(sent, ["p"])
    assert made is not None
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


P = Birth("p", moment(0))
VISIT = Known({("shop", "s1"): P}, {}, {"p": P})


def let_in(rules: ConsentBook, *events: ValidEvent, known: Known = VISIT) -> list[str]:
    """The ids of those that come in."""
    known = Known(dict(known.sessions), dict(known.identifiers), dict(known.profiles))
    found = resolve([(event, []) for event in events], known, definitions(), lambda *what: "minted", rules)
    return [event.id for event in found.events if event is not None]


def granted(rules: ConsentBook) -> dict[tuple[str, str], bool]:
    return {key: statement.granted for key, statement in rules.news.items()}


def test_a_source_that_requires_consent_gets_nothing_in_without_it():
    visit = event(1, session="s1", profile="p")
    assert let_in(book(STRICT), visit) == []
    assert let_in(book(STRICT, ads=no()), visit) == []
    assert let_in(book(STRICT, ads=yes()), visit) == [visit.id]
    assert let_in(book(STRICT, ads=yes()), event(2, session="other", profile="stranger")) == []


def test_what_an_event_says_itself_counts_for_it_and_what_comes_after():
    grant = event(1, session="s1", profile="p", context={"consents": {"ads": True}})
    later = event(2, session="s1", profile="p")
    revoke = event(3, session="s1", profile="p", type="consent-update", properties={"consents": {"ads": False}})
    last = event(4, session="s1", profile="p")
    rules = book(STRICT)
    assert let_in(rules, event(0, session="s1", profile="p"), grant, later, revoke, last) == [grant.id, later.id]
    # The revocation was dropped, and counts.
    assert granted(rules) == {("p", "ads"): False}
    assert [(job.profile, job.changed) for job in rules.jobs()] == [("p", ["consents.ads"])]


def test_a_late_word_does_not_undo_a_later_one():
    rules = book(STRICT, ads=no(100))
    assert let_in(rules, event(50, session="s1", profile="p", context={"consents": {"ads": True}})) == []
    assert rules.news == {}


@pytest.mark.parametrize("first", [True, False])
def test_of_a_yes_and_a_no_at_one_time_the_no_counts(first: bool):
    rules = book(STRICT)
    for number, granted in enumerate((first, not first)):
        said_so = event(number, session="s", profile="p", occurred_at=moment(5), context={"consents": {"ads": granted}})
        rules.hear("p", said_so)
    assert {key: one.granted for key, one in rules.news.items()} == {("p", "ads"): False}


@pytest.mark.parametrize("word", [True, False])
def test_strangers_of_whom_nothing_is_known_leave_nothing_behind(word: bool):
    known = Known({}, {}, {})
    rules = book({**STRICT, "requires_consent": ["ads", "mail"]})
    stranger = event(1, session="new", profile="stranger", context={"consents": {"ads": word}})
    found = resolve([(stranger, [])], known, definitions(), lambda *what: "minted", rules)
    assert (found.events, found.new_profiles, found.sessions, rules.news) == ([None], {}, {}, {})


def test_a_strangers_no_is_kept_where_saying_nothing_would_be_a_yes():
    rules = ConsentBook({}, definitions({**ADS, "default": "grant"}, STRICT), hide)
    no_ads = event(1, session="new", profile="stranger", context={"consents": {"ads": False}})
    found = resolve(
        [(event(0, session="old", profile="other"), []), (no_ads, []), (event(2, session="new", profile="s"), [])],
        Known({}, {}, {}),
        definitions(),
        lambda *what: "minted",
        rules,
    )
    assert [one is not None for one in found.events] == [True, False, False]
    assert (list(found.new_profiles), granted(rules)) == (["other", "stranger"], {("stranger", "ads"): False})
    assert found.sessions == {("shop", "old"): "other", ("shop", "new"): "stranger"}


def shown_by(sent: ValidEvent) -> list[Shown]:
    mail = (msgspec.json.decode(sent.properties).get("customer") or {}).get("mail", "")
    return [] if not mail or mail.startswith("hashed:") else [Shown(("e-mail", mail))]


@pytest.mark.parametrize(
    ("session", "customer", "whose"),
    [
        ({}, {}, "browser"),
        ({}, {"mail": yes()}, "customer"),
        ({"mail": yes()}, {}, "customer"),
        ({"mail": yes()}, {"mail": no()}, "browser"),
        ({"mail": no()}, {"mail": yes()}, "browser"),
    ],
)
def test_an_event_is_judged_by_what_all_whom_it_leads_to_have_said(
    session: dict[str, Statement], customer: dict[str, Statement], whose: str
):
    """Nobody is identified by what one of the two has said no to, or neither has said yes to."""
    old, new = Birth("customer", moment(0)), Birth("browser", moment(1))
    known = Known({("shop", "s1"): new}, {("e-mail", "a@b.example"): Stored(old, Sighting(moment(0), moment(0)))}, {})
    rules = ConsentBook({"browser": session, "customer": customer}, definitions(ADS, MAIL, PROTECTED), hide)
    sent = event(5, session="s1", type="order", properties=ORDER)
    found = resolve([(sent, shown_by(sent))], known, definitions(), lambda *what: "minted", rules, shown_by)
    (judged,) = found.events
    assert judged is not None
    mail = msgspec.json.decode(judged.properties)["customer"]["mail"]
    assert (found.owners, mail) == ([whose], "a@b.example" if whose == "customer" else HIDDEN)
    assert [job.profiles for job in found.merges] == ([["customer", "browser"]] if whose == "customer" else [])


def test_whoever_logs_in_is_judged_as_who_they_are_and_not_as_the_browser_was():
    ten, eleven = Birth("ten", moment(0)), Birth("eleven", moment(1))
    keys = {("user", id): Stored(birth, Sighting(moment(0), moment(0))) for id, birth in (("10", ten), ("11", eleven))}
    known = Known({("shop", "s1"): ten}, keys, {}, {"ten": {"user": {"10"}}, "eleven": {"user": {"11"}}})
    rules = definitions(ADS, STRICT, {"kind": "namespace", "id": "user", "unique": True})
    sent = event(5, session="s1")

    def come_in(**said: dict[str, Statement]) -> list[str | None]:
        stored = Known(dict(known.sessions), dict(known.identifiers), {}, known.values)
        shown = [Shown(("user", "11"))]
        found = resolve([(sent, shown)], stored, rules, lambda *what: "minted", ConsentBook(said, rules, hide))
        return [owner for owner, event in zip(found.owners, found.events, strict=True) if event is not None]

    assert come_in(ten={}, eleven={"ads": yes()}) == ["eleven"]
    assert come_in(ten={"ads": no()}, eleven={"ads": yes()}) == ["eleven"]
    assert come_in(ten={"ads": yes()}, eleven={}) == []


def test_a_withdrawal_closes_everything_that_it_leads_to_and_a_grant_opens_only_what_is_its_own():
    """Sent from the phone, with an e-mail that is an older profile's; the event itself may not come in."""
    old, phone = Birth("old", moment(0)), Birth("phone", moment(1))
    update, shown = {"type": "consent-update", "session": "s1"}, [Shown(("e-mail", "m"))]
    for word, heard in ((False, {("old", "ads"): False, ("phone", "ads"): False}), (True, {("phone", "ads"): True})):
        known = Known({("shop", "s1"): phone}, {("e-mail", "m"): Stored(old, Sighting(moment(0), moment(0)))}, {})
        strict = {**STRICT, "requires_consent": ["ads", "mail"]}
        rules = ConsentBook({"phone": {"mail": no()}, "old": {"mail": yes()}}, definitions(ADS, MAIL, strict), hide)
        sent = event(5, **update, properties={"consents": {"ads": word}})
        found = resolve([(sent, shown)], known, definitions(), lambda *what: "minted", rules, lambda event: shown)
        assert (found.events, granted(rules)) == ([None], heard)


def test_what_is_protected_within_a_list_is_protected_in_each_of_its_items():
    rule = {"kind": "compliance", "id": "all", "protected": [{"property": "guests.mail", "consents": ["mail"]}]}
    guests = [{"mail": "a", "n": 1}, "b", [{"mail": "c"}], {"n": 2}]
    made, _ = complied(book(rule), properties={"guests": guests})
    assert made == {"guests": [{"n": 1}, "b", [{}], {"n": 2}]}


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
    once = rules.judge(event(type="order", properties=ORDER), ["p"])
    assert once is not None
    again = rules.judge(once, ["p"])
    assert again is not None and again.properties == once.properties
    assert identifier_value(msgspec.json.decode(once.properties)["customer"]["mail"], "email") is None


def test_what_only_looks_like_a_hash_is_erased_and_hashed_like_anything_else():
    sent = {"customer": {"mail": "hashed:a@b.example", "phone": "hashed:" + "0" * 32}}
    made, _ = complied(book(PROTECTED), properties=sent)
    assert made == {"customer": {"mail": "hashed:" + hide("property customer.mail", '"hashed:a@b.example"')}}
