"""Of everything that can fail it is found whose it is: what erasing looks for among failures."""

from typing import Any

import msgspec
import pytest

from deploy.operations.whose import Whose
from processors.storage.erasures import key_hash, session_hash
from schemas.codecs import Message
from schemas.events import ValidEvent
from schemas.profiles import Delivery, MergeJob, ProfileChange, SegmentationJob
from schemas.topics import EVENTS_VALID, MERGE_JOBS, PROFILE_CHANGES, SEGMENTATION_JOBS, destination_topic
from tests.unit.making import definitions, event, moment
from workflows.identification import Identifiers
from workflows.identity import ProfileIds

ANN, BOB = "0acef40a-5811-4b6e-9c1a-6f1f7d0c7df0", "4ff429b2-6fa9-467f-9f66-f68372cb6d35"
KNOWN = definitions(
    {
        "kind": "identification-point",
        "id": "login",
        "event_type": "login",
        "identifiers": [{"namespace": "mail", "property": "mail"}],
    }
)
IDS = ProfileIds(b"a key")
MAIL = key_hash(IDS.hide, ("mail", "ann@x.example"))
SESSION = session_hash(IDS.hide, "shop", "s1")


def names(key: bytes | None, body: bytes) -> tuple[set[str], set[str]]:
    return Whose(Identifiers(KNOWN, IDS.hide), IDS, KNOWN).names(key, body)


def test_a_payload_names_its_session_and_what_its_events_show():
    sent = {"type": "login", "properties": {"mail": "ann@x.example"}}
    body = {"source": {"id": "shop"}, "session": {"id": "s1"}, "profile": {"id": ANN}, "events": [sent]}
    profiles, hashes = names(None, msgspec.json.encode(body))
    assert hashes == {MAIL, SESSION}
    assert profiles


def valid(**fields: Any) -> Message:
    made = event(1, type="login", session="s1", profile=ANN, properties={"mail": "ann@x.example"}, **fields)
    return EVENTS_VALID.encode(msgspec.convert(made, ValidEvent, from_attributes=True))


CLAIM = MergeJob(profiles=[ANN, BOB], cause="workflow", namespace="mail", value="ann@x.example", event="e")
CHANGE = ProfileChange(profile=ANN, version=1, at=moment(0), merged_into=BOB)
DELIVERY = Delivery(id="d", destination="crm", profile=ANN, version=1, body={"traits": {"mail": "ann@x.example"}})


@pytest.mark.parametrize(
    ("message", "profiles", "hashes"),
    [
        (valid(), {ANN}, {MAIL, SESSION}),
        (MERGE_JOBS.encode(CLAIM), {ANN, BOB}, {MAIL}),
        (SEGMENTATION_JOBS.encode(SegmentationJob(profile=ANN, changed=["merged"])), {ANN}, set()),
        (PROFILE_CHANGES.encode(CHANGE), {ANN, BOB}, set()),
        (destination_topic("crm").encode(DELIVERY), {ANN}, set()),
    ],
    ids=lambda value: value.topic if isinstance(value, Message) else "",
)
def test_what_failed_behind_validate_names_its_profiles_sessions_and_identifiers(
    message: Message, profiles: set[str], hashes: set[str]
):
    assert names(message.key, message.value or b"") == (profiles, hashes)


TOO_DEEP = b'{"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"profile": 7}', b'{"profile": "x"}', pytest.param(TOO_DEEP, id="deep")],
)
def test_what_cannot_be_read_names_whom_its_key_names(body: bytes):
    assert names(ANN.encode(), body) == ({ANN}, set())
    assert names(b"\xff", body) == (set(), set())
