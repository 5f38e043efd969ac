"""Bodies for /track, each by its class in the table of bad input: what is refused whole, what event by event, what is
taken. Where both the request and the event could be refused, docs/input.md says which."""

import json
from collections.abc import Mapping
from typing import Any

from tests.kit.wire import MARK


def body(*events: Any, source: Any = "shop", **more: Any) -> bytes:
    """A payload, with a mark in it that no answer may repeat."""
    return json.dumps({"source": {"id": source}, "mark": MARK.decode(), **more, "events": list(events)}).encode()


def event(**fields: Any) -> dict[str, Any]:
    return {"type": "page-view", **fields}


def holding(value: bytes) -> bytes:
    """A payload whose event's properties hold this value, as it is written."""
    return body(event(properties={"mark": MARK.decode(), "v": 0})).replace(b'"v": 0', b'"v": ' + value)


def nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


def keys(number: int) -> bytes:
    return b"{" + b",".join(b'"k%d":1' % one for one in range(number)) + b"}"


GOOD = body(event(properties={"mark": MARK.decode()}))
#: Properties of an event are the second level of its JSON.
DEEPEST = 62

#: Nothing of it is written: status and code.
REFUSED: Mapping[str, tuple[bytes, int, str]] = {
    "02 empty": (b"", 400, "empty_body"),
    "03 blanks": (b" \t\r\n ", 400, "empty_body"),
    "04 cut off": (GOOD[:-1], 400, "invalid_json"),
    "05 something behind it": (GOOD + b" x", 400, "invalid_json"),
    "05 two documents": (GOOD + b"\n" + GOOD, 400, "invalid_json"),
    "06 single quotes": (holding(b"'a'"), 400, "invalid_json"),
    "06 a comment": (holding(b"1 /* one */"), 400, "invalid_json"),
    "06 a comma too many": (holding(b"[1,]"), 400, "invalid_json"),
    "06 a leading zero": (holding(b"01"), 400, "invalid_json"),
    "07 NaN": (holding(b"NaN"), 400, "invalid_json"),
    "07 Infinity": (holding(b"Infinity"), 400, "invalid_json"),
    "07 -Infinity": (holding(b"-Infinity"), 400, "invalid_json"),
    "08 1e400 where an id should be": (b'{"source":{"id":1e400},"events":[{}]}', 400, "number_out_of_range"),
    "12 a byte that is never UTF-8": (holding(b'"\xff"'), 400, "invalid_encoding"),
    "12 an overlong slash": (holding(b'"\xc0\xaf"'), 400, "invalid_encoding"),
    "12 half a surrogate pair in bytes": (holding(b'"\xed\xa0\x80"'), 400, "invalid_encoding"),
    "12 beyond U+10FFFF": (holding(b'"\xf4\x90\x80\x80"'), 400, "invalid_encoding"),
    "12 a character cut off": (holding(b'"\xe2\x82"'), 400, "invalid_encoding"),
    "13 UTF-16": (GOOD.decode().encode("utf-16"), 400, "invalid_encoding"),
    "13 UTF-16 without a mark": (GOOD.decode().encode("utf-16-le"), 400, "invalid_json"),
    "13 UTF-32": (GOOD.decode().encode("utf-32"), 400, "invalid_encoding"),
    "14 UTF-8 with a byte order mark": (b"\xef\xbb\xbf" + GOOD, 400, "invalid_json"),
    # Not taken apart into its events: what cannot be read as JSON cannot be kept as JSON either.
    "15 half a surrogate pair": (holding(b'"\\ud800"'), 400, "invalid_json"),
    "15 the other half": (holding(b'"\\udc00"'), 400, "invalid_json"),
    "15 a pair the wrong way round": (holding(b'"\\udc00\\ud800"'), 400, "invalid_json"),
    "15 half a surrogate pair in a key": (holding(b'{"\\ud800": 1}'), 400, "invalid_json"),
    "18 a NUL as it is": (holding(b'"a\0b"'), 400, "invalid_json"),
    "18 a line break as it is": (holding(b'"a\nb"'), 400, "invalid_json"),
    "18 U+001F as it is": (holding(b'"\x1f"'), 400, "invalid_json"),
    "20 a hundred thousand lists": (holding(nested(100_000)), 400, "too_deep"),
    "20 a hundred thousand brackets": (holding(b"[" * 100_000), 400, "too_deep"),
    "20 brackets alone": (b"[" * 999_999, 400, "not_an_object"),
    "20 objects alone": (b'{"a":' * 190_000, 400, "too_deep"),
    "20 objects around the source": (b'{"source":' * 5_000 + b"1" + b"}" * 5_000, 400, "too_deep"),
    "24 a list": (b"[" + GOOD + b"]", 400, "not_an_object"),
    "24 a text": (b'"payload"', 400, "not_an_object"),
    "24 null": (b"null", 400, "not_an_object"),
    "24 a number": (b"42", 400, "not_an_object"),
    "10 900,000 digits and nothing else": (b"9" * 900_000, 400, "number_out_of_range"),
    "25 no events": (b'{"source":{"id":"shop"}}', 400, "empty_batch"),
    "25 events are an object": (b'{"source":{"id":"shop"},"events":{}}', 400, "empty_batch"),
    "25 events are null": (b'{"source":{"id":"shop"},"events":null}', 400, "empty_batch"),
    "25 an empty list": (body(), 400, "empty_batch"),
    "26 501 events": (body(*[event()] * 501), 413, "batch_too_large"),
    "32 no source": (b'{"events":[{"type":"page-view"}]}', 401, "no_source"),
    "32 a source without an id": (b'{"source":{},"events":[{"type":"page-view"}]}', 401, "no_source"),
    "32 a source that is a text": (b'{"source":"shop","events":[{"type":"page-view"}]}', 401, "no_source"),
    "33 an unknown source": (body(event(), source="nobody"), 401, "unknown_source"),
    "33 a source in capitals": (body(event(), source="SHOP"), 401, "unknown_source"),
    "33 a source in wide letters": (body(event(), source="\uff53hop"), 401, "unknown_source"),
    "34 a disabled source": (body(event(), source="switched-off"), 404, "source_disabled"),
    "35 an internal source": (body(event(), source="@internal"), 401, "unknown_source"),
    "37 10 kB": (body(event(), source="x" * 10_000), 401, "no_source"),
    "37 a NUL": (body(event(), source="shop\0"), 401, "no_source"),
    "37 a path": (body(event(), source="../../etc/passwd"), 401, "unknown_source"),
    "37 SQL": (body(event(), source="' or 1=1 --"), 401, "unknown_source"),
    "37 a number": (body(event(), source=1), 401, "no_source"),
    "37 a list": (body(event(), source=["shop"]), 401, "no_source"),
    "38 not by this bridge": (body(event(), source="kafka-only"), 403, "bridge_not_allowed"),
    "54 a byte too many": (GOOD.ljust(1_000_001), 413, "body_too_large"),
}

NO_TIMES: tuple[Any, ...] = (
    *("now", "yesterday", "infinity", "-infinity", "", "1700000000000", 1_700_000_000_000, 1_700_000_000, True, []),
    *("2024-01-01", "2024-02-30T00:00:00Z", "2024-01-01T24:00:00Z", "2024-01-01T00:00:60Z"),
    *("2024-01-01T00:00:00+99:00", "0000-01-01T00:00:00Z", "294277-01-01T00:00:00Z"),
    *("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00"),
)
NO_SESSIONS: tuple[Any, ...] = (
    *(1, "", " ", [], {}, "x" * 101, "x" * 10_000, "a\x07", "null", "Undefined", "[object Object]", "NaN"),
)
NO_PROFILES: tuple[Any, ...] = (1, "", [], "x" * 101, "a\nb")
#: The payload is kept; its only event is rejected for this reason.
REJECTED: Mapping[str, tuple[bytes, str]] = {
    "08 1e400": (holding(b"1e400"), "number_out_of_range"),
    "08 -1e400": (holding(b"-1e400"), "number_out_of_range"),
    "08 an exponent of twelve digits": (holding(b"1e999999999999"), "number_out_of_range"),
    "08 so small that PostgreSQL refuses it": (holding(b"1e-99999"), "number_out_of_range"),
    "08 1e400 as a time": (body(event(timestamp=0)).replace(b": 0", b": 1e400"), "number_out_of_range"),
    "09 2^53 + 1": (holding(b"9007199254740993"), "number_out_of_range"),
    "09 -2^53 - 1": (holding(b"-9007199254740993"), "number_out_of_range"),
    "09 20 digits": (holding(b"12345678901234567890"), "number_out_of_range"),
    "10 250,000 digits": (holding(b"9" * 250_000), "number_out_of_range"),
    "10 250,000 digits behind the point": (holding(b"1." + b"9" * 250_000), "number_out_of_range"),
    "16 U+0000 in a value": (holding(b'"a\\u0000b"'), "nul_character"),
    "17 U+0000 in a key": (holding(b'{"a\\u0000": 1}'), "nul_character"),
    "17 U+0000 in a type": (body(event(type="page\0view")), "nul_character"),
    "17 U+0000 in an id": (body(event(id="one\0")), "nul_character"),
    "17 U+0000 in a session's id": (body(event(), session={"id": "a\0"}), "invalid_id"),
    "17 U+0000 in a context": (body(event(), context={"a": "\0"}), "invalid_context"),
    "19 a level too many": (holding(nested(DEEPEST + 1)), "too_deep"),
    "19 a level too many in objects": (holding(b'{"a":' * (DEEPEST + 1) + b"1" + b"}" * (DEEPEST + 1)), "too_deep"),
    "19 a deep context": (body(event(), context={"a": 0}).replace(b": 0", b": " + nested(65)), "invalid_context"),
    "21 1,001 keys": (holding(keys(1_001)), "too_many_keys"),
    "21 20,000 keys": (holding(keys(20_000)), "too_many_keys"),
    "22 a key of 257 bytes": (holding(b'{"' + b"k" * 257 + b'": 1}'), "key_too_long"),
    "22 a key of 200 kB": (holding(b'{"' + b"k" * 200_000 + b'": 1}'), "key_too_long"),
    "22 a key of 129 characters of two bytes": (holding(b'{"' + b"\xc3\xa9" * 129 + b'": 1}'), "key_too_long"),
    "22 a key of escapes": (holding(b'{"' + b'\\"' * 257 + b'": 1}'), "key_too_long"),
    "27 a number": (body(1), "event_not_object"),
    "27 null": (body(None), "event_not_object"),
    "27 a text": (body("page-view"), "event_not_object"),
    "27 a list": (body([]), "event_not_object"),
    "28 no type": (body({}), "invalid_type"),
    "28 an empty type": (body(event(type="")), "invalid_type"),
    "28 a type of blanks": (body(event(type="   ")), "invalid_type"),
    "28 a type of 1 kB": (body(event(type="x" * 1_000)), "invalid_type"),
    "28 a type that is a number": (body(event(type=1)), "invalid_type"),
    "28 a type that is true": (body(event(type=True)), "invalid_type"),
    "28 a type that is an object": (body(event(type={"$gt": ""})), "invalid_type"),
    "28 a control character": (body(event(type="page\x01view")), "invalid_type"),
    "28 a slash": (body(event(type="page/view")), "invalid_type"),
    "28 a letter that is not ours": (body(event(type="\uff50age")), "invalid_type"),
    "29 a list": (body(event(properties=[])), "invalid_properties"),
    "29 a text": (body(event(properties="{}")), "invalid_properties"),
    "29 null": (body(event(properties=None)), "invalid_properties"),
    "29 a context that is a list": (body(event(context=[])), "invalid_context"),
    "57 more than 256 KiB": (body(event(properties={"a": "x" * 262_144})), "event_too_large"),
    "75 a number": (body(event(id=1)), "invalid_event_id"),
    "75 empty": (body(event(id="")), "invalid_event_id"),
    "75 blanks": (body(event(id="  ")), "invalid_event_id"),
    "75 101 characters": (body(event(id="x" * 101)), "invalid_event_id"),
    "75 a line break": (body(event(id="a\nb")), "invalid_event_id"),
    "75 an escape": (body(event(id="\x1b[31m")), "invalid_event_id"),
    "75 nothing to be seen": (body(event(id="\u200b")), "invalid_event_id"),
    "75 from right to left": (body(event(id="a\u202eb")), "invalid_event_id"),
    **{f"80 {time!r}": (body(event(timestamp=time)), "invalid_timestamp") for time in NO_TIMES},
    **{f"82 a session's id {id!r:.20}": (body(event(), session={"id": id}), "invalid_id") for id in NO_SESSIONS},
    **{f"82 a profile's id {id!r:.20}": (body(event(), profile={"id": id}), "invalid_id") for id in NO_PROFILES},
    "82 a session that is a text": (body(event(), session="mine"), "invalid_id"),
}

#: Taken.
ACCEPTED: Mapping[str, bytes] = {
    "01 minimal": GOOD,
    "09 2^53": holding(b"9007199254740992"),
    "09 20 digits and a point": holding(b"12345678901234567890.0"),
    "11 a key twice": holding(b'{"a": 1, "a": 2}'),
    "18 U+007F as it is": holding(b'"\x7f"'),
    "19 the deepest": holding(nested(DEEPEST)),
    "21 1,000 keys": holding(keys(1_000)),
    "22 a key of 256 bytes": holding(b'{"' + b"k" * 256 + b'": 1}'),
    "23 keys that mean something elsewhere": holding(
        b'{"": 1, "a.b": 2, "$where": 3, "__proto__": {"admin": true}, "__class__": 4, "constructor": 5}'
    ),
    "26 500 events": body(*[event()] * 500),
    "30 unknown fields": body(event(colour="red"), colour="red", **{"__class__": "x", "": 1}),
    "30 an unknown field of 900 kB": body(event(), filler="x" * 900_000),
    "58 a record as large as one may be": body(*[event(properties={"a": "x" * 249_000})] * 4).ljust(1_000_000),
    "74 no id": body(event()),
    "79 no timestamp": body(event()),
    "81 the future": body(event(timestamp="3000-01-01T00:00:00Z")),
    "81 long ago": body(event(timestamp="1000-01-01T00:00:00Z")),
    "82 no session": body(event(), session={}),
}
