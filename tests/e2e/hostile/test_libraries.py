"""Whatever stands in any field of what other libraries send: an answer, and never as an error of ours, which they would
send again for ever."""

import json
from collections.abc import Mapping

import pytest

from tests.e2e.hostile.test_bodies import written
from tests.kit.installation import Installation
from tests.kit.wire import MARK, Wire, code_of, request

VALUES = [
    *(b"null", b"1", b"-1.5", b"1e400", b"1e-99999", b"12345678901234567890123", b"true", b'""', b'" "', b'"\\u0000"'),
    *(b'"null"', b'"\\u202e"', b'"caf\xc3\xa9"', b'"\\ud83d\\ude00"', b'"' + b"x" * 10_000 + b'"', b'"' + MARK + b'"'),
    *(b"[]", b"[null]", b'[{"type":1}]', b"{}", b'{"":{"":{}}}', b'{"\\u0000":1}', b"[" * 70 + b"]" * 70),
    *(b'"now"', b'"9999-12-31T23:59:59Z"', b'"0001-01-01T00:00:00+01:00"', b'"$identify"', b'{"a.b":1e400}'),
]
SEGMENT = (
    *("type", "messageId", "userId", "anonymousId", "previousId", "groupId", "event", "name", "category", "properties"),
    *("traits", "context", "timestamp", "originalTimestamp", "sentAt", "integrations", "batch"),
)
POSTHOG = (
    *("event", "distinct_id", "uuid", "timestamp", "sent_at", "properties", "$set", "$set_once", "token", "batch"),
    *("$anon_distinct_id", "alias", "$group_key", "$group_set", "$lib", "$ip", "$current_url", "$session_id"),
)


def kinds(of: str, names: tuple[str, ...], more: str) -> list[bytes]:
    return [f'{{"{of}":"{name}",{more}'.encode() for name in names]


#: By path: how messages begin, the fields to try.
LIBRARIES: Mapping[str, tuple[list[bytes], tuple[str, ...]]] = {
    "/v1/batch": (
        kinds("type", ("track", "identify", "page", "group", "alias"), '"event":"a","userId":"b","anonymousId":"c",'),
        SEGMENT,
    ),
    "/batch/": (
        kinds(
            "event", ("a", "$pageview", "$identify", "$set", "$groupidentify", "$create_alias"), '"distinct_id":"b",'
        ),
        POSTHOG,
    ),
}


@pytest.mark.parametrize("path", LIBRARIES)
def test_one_odd_field_of_one_message_does_not_sink_its_batch(wire: Wire, path: str) -> None:
    """All messages in one batch beside a good one: the good one is taken."""
    begins, fields = LIBRARIES[path]
    good = begins[0][:-1] + b"}"
    for field in fields:
        for value in VALUES:
            odd = [begin + b'"%s":%s}' % (field.encode(), value) for begin in begins]
            inside = [begin + b'"properties":{"%s":%s}}' % (field.encode(), value) for begin in begins]
            answer = wire.ask(
                request(
                    b'{"batch":[' + b",".join([*odd, *inside, good]) + b"]}", path=path.encode() + b"?writeKey=shop"
                )
            )
            assert answer.status == 200, (field, value[:40], answer.body)
            assert MARK not in answer.raw or field in ("messageId", "uuid")


#: By path, the fields of what stands alone there.
ALONE: Mapping[str, tuple[str, ...]] = {
    "/v1/track": SEGMENT,
    "/v1/identify": SEGMENT,
    "/capture/": POSTHOG,
    "/e/": POSTHOG,
    "/track": ("source", "session", "profile", "profile_less", "context", "events", "options", "sent_at"),
}
WORST = [b"null", b"1e400", b"1e-99999", b"[[]]", b'{"":{"":{}}}', b'{"id":{}}', b'"\\u0000"', b"[" * 70 + b"]" * 70]


@pytest.mark.parametrize("path", ALONE)
def test_one_odd_field_alone_gets_an_answer(door: Installation, wire: Wire, path: str) -> None:
    before = written(door)
    taken = 0
    for field in (*ALONE[path], "writeKey", "api_key", "token"):
        for value in WORST:
            body = b'{"event":"a","userId":"b","distinct_id":"b","%s":%s}' % (field.encode(), value)
            answer = wire.ask(request(body, path=path.encode() + b"?writeKey=shop"))
            assert answer.status < 500, (field, value[:40], answer.raw)
            taken += answer.status == 200 or code_of(answer) == "no_acceptable_event"
    assert written(door) == before + taken


def test_a_value_alone_gets_an_answer_everywhere(wire: Wire) -> None:
    for path in (b"/track", b"/v1/track", b"/v1/batch", b"/batch", b"/e/", b"/collect/a/shop/s"):
        for value in (*VALUES, b"[" * 100_000, b'{"batch":' * 20_000):
            for body in (value, b"[" + value + b"]", b'{"batch":' + value + b"}", b'{"batch":[' + value + b"]}"):
                answer = wire.ask(request(body, path=path + b"?api_key=shop"))
                assert answer.status < 500, (path, body[:40])
                assert MARK not in answer.raw
                assert answer.body[:1] == b"{"
                json.loads(answer.body)
