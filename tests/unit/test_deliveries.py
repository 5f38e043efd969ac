"""What each destination is owed by a change of a profile."""

from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from schemas.profiles import ProfileChange, Send
from schemas.topics import destination_topic
from tests.unit.making import definitions, moment
from workflows.deliveries import owed


def destinations(*bodies: dict[str, Any]):
    return definitions(*({"kind": "destination", **body} for body in bodies)).compiled_destinations


def change(**fields: Any) -> ProfileChange:
    defaults: dict[str, Any] = {
        "profile": "p1",
        "version": 3,
        "at": moment(0),
        "traits": {"name": "Ada"},
        "totals": {"revenue": Decimal("2500315.63")},
        "counters": {"order": 11},
        "segments": ["vip"],
        "entered": ["vip"],
    }
    return ProfileChange(**{**defaults, **fields})


def test_without_a_condition_every_change_goes_out_whole():
    (delivery,) = owed(change(), destinations({"id": "crm"}))
    assert (delivery.destination, delivery.profile, delivery.version) == ("crm", "p1", 3)
    assert delivery.body == {
        "profile": "p1",
        "version": 3,
        "at": "2026-01-01T00:00:00Z",
        "traits": {"name": "Ada"},
        "totals": {"revenue": Decimal("2500315.63")},
        "counters": {"order": 11},
        "segments": ["vip"],
        "entered": ["vip"],
    }


def test_a_condition_looks_at_the_profile_and_at_the_change():
    wants = destinations(
        {"id": "members", "condition": '"vip" in profile.segments'},
        {"id": "new-members", "condition": '"vip" in change.entered'},
        {"id": "spenders", "condition": "profile.totals.revenue > 1000.0 && profile.counters.order > 10"},
        {"id": "merged", "condition": 'change.merged_into != ""'},
        {"id": "broken", "condition": "profile.traits.missing == 1"},
        {"id": "off", "enabled": False},
    )
    assert [each.destination for each in owed(change(), wants)] == ["members", "new-members", "spenders"]
    assert [each.destination for each in owed(change(entered=[]), wants)] == ["members", "spenders"]
    gone = ProfileChange(profile="p1", version=4, at=moment(0), merged_into="p0")
    assert [each.destination for each in owed(gone, wants)] == ["merged"]


def test_a_mapping_says_what_is_sent():
    mapping = {
        "name": "profile.traits.name",
        "revenue": "profile.totals.revenue",
        "version": "change.version",
        "missing": "profile.traits.missing",
    }
    (delivery,) = owed(change(), destinations({"id": "crm", "mapping": mapping}))
    assert delivery.body == {"name": "Ada", "revenue": 2500315.63, "version": 3, "missing": None}


def test_what_a_workflow_sends_goes_to_its_destination_whatever_the_condition():
    sends = [
        Send(id="one", destination="crm", event_type="order", properties={"total": 5}),
        Send(id="two", destination="other", event_type="order"),
    ]
    wants = destinations(
        {"id": "crm", "condition": "false", "mapping": {"name": "profile.traits.name"}}, {"id": "mail"}
    )
    found = owed(change(sends=sends), wants)
    assert [(each.destination, each.id == "one") for each in found] == [("crm", True), ("mail", False)]
    assert {each.profile for each in found} == {"p1"}
    assert found[0].body == {"event": "order", "properties": {"total": 5}, "name": "Ada"}
    assert "sends" not in found[1].body


def test_what_was_sent_for_a_merged_profile_goes_to_its_survivor():
    gone = change(merged_into="p0", sends=[Send(id="one", destination="crm", event_type="order")])
    (delivery,) = owed(gone, destinations({"id": "crm", "condition": "false"}))
    assert delivery.profile == "p0"


def test_an_id_is_the_same_for_every_repeat_and_another_for_anything_else():
    wants = destinations({"id": "crm"}, {"id": "mail"})
    first, again = owed(change(), wants), owed(change(), wants)
    assert [each.id for each in first] == [each.id for each in again]
    later = owed(change(version=4), wants)
    others = owed(change(profile="p2"), wants)
    ids = [each.id for each in (*first, *later, *others)]
    assert len(set(ids)) == len(ids) == 6
    assert all(str(UUID(id)) == id for id in ids)


def test_exact_sums_leave_as_numbers_with_every_digit():
    exact = Decimal("12345678901234567890.123456789")
    (delivery,) = owed(change(totals={"revenue": exact}), destinations({"id": "crm"}))
    message = destination_topic("crm").encode(delivery)
    assert b'"revenue":12345678901234567890.123456789' in message.value
    assert msgspec.json.decode(message.value, type=dict)["body"]["traits"] == {"name": "Ada"}
    assert (message.topic, message.key) == ("destination-crm", b"p1")


def test_what_a_workflow_sent_goes_to_nobody_whom_the_person_has_not_agreed_to_merged_or_not():
    wants = destinations({"id": "crm", "consents": ["ads"]})
    sends = [Send(id="s", destination="crm", event_type="login", properties={"mail": "a@b.example"})]
    gone = change(merged_into="p2", sends=sends)
    assert [delivery.body.get("properties") for delivery in owed(gone, wants)] == [None]
    assert owed(change(sends=sends), wants) == []
    assert len(owed(change(sends=sends, consents={"ads": True}), wants)) == 2


def test_the_names_of_private_traits_are_in_no_mapping():
    (delivery,) = owed(
        change(changed=["traits.name", "traits.secret"], private={"secret": 1}),
        destinations({"id": "crm", "mapping": {"changed": "change.changed"}}),
    )
    assert delivery.body == {"changed": ["traits.name"]}


def test_whoever_waits_for_some_fields_hears_of_a_profile_that_it_is_gone_and_that_it_is_back():
    wants = destinations({"id": "crm", "on_change": ["traits.city"]})
    heard = [
        [each.gone for each in owed(change(**fields), wants)]
        for fields in (
            {"changed": ["traits.name"]},
            {"changed": ["traits.city"]},
            {"changed": ["merged"], "merged_into": "p2"},
            {"changed": ["unmerged"]},
        )
    ]
    assert heard == [[], [False], [True], [False]]
