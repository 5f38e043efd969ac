"""Who may send: keys, origins, rates, and paths that name something, as no honest client asks."""

import json
from base64 import b64encode
from collections.abc import Mapping
from contextlib import closing

import pytest

from tests.e2e.hostile.bodies import GOOD, body, event
from tests.e2e.hostile.test_bodies import written
from tests.kit.installation import Installation
from tests.kit.waiting import until
from tests.kit.wire import HEALTH, MARK, Answer, Wire, code_of, request

SHOP = b"origin: https://shop.example"
PAGES = body(event(), source="pages")
LOCKED = body(event(), source="locked")


def cors(answer: Answer) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


def basic(user: bytes) -> bytes:
    return b"authorization: Basic " + b64encode(user + b":")


def test_a_page_of_an_origin_that_its_source_lists_may_send_and_read(wire: Wire) -> None:
    answer = wire.ask(request(PAGES, SHOP))
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert answer.headers["vary"].lower() == "origin"
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin",
    [
        *(b"null", b"*", b"https://evil.example", b"https://shop.example.evil.example", b"https://evil.shop.example"),
        *(b"http://shop.example", b"https://shop.example:443", b"https://shop.example:8443", b"https://SHOP.example"),
        *(b"https://shop.example.", b"https://shop.example/", b"https://evil@shop.example", b"shop.example"),
        *(b"https://shop.example, https://evil.example", b"https://shop.example https://evil.example"),
        *(b"https://shop.example\xff", b"\xff", MARK),
    ],
)
def test_an_origin_is_the_same_in_every_character_or_denied(door: Installation, wire: Wire, origin: bytes) -> None:
    before = written(door)
    answer = wire.ask(request(PAGES, b"origin: " + origin))
    assert (answer.status, code_of(answer)) == (403, "origin_denied")
    assert not cors(answer)
    assert MARK not in answer.raw
    assert wire.ask(HEALTH).status == 200
    assert written(door) == before


def test_of_two_origins_none_is_believed(door: Installation, wire: Wire) -> None:
    before = written(door)
    assert wire.ask(request(PAGES, SHOP, b"origin: https://evil.example")).status in (400, 403)
    assert written(door) == before


def test_a_preflight_names_the_origin_and_never_everybody(wire: Wire) -> None:
    asked = (b"access-control-request-method: POST", b"access-control-request-headers: content-type,authorization")
    answer = wire.ask(request(b"", SHOP, *asked, method=b"OPTIONS", type=None), has_body=False)
    assert answer.status == 204
    assert answer.headers["access-control-allow-origin"] == "https://shop.example"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "content-type,authorization"
    assert int(answer.headers["access-control-max-age"]) > 0
    assert answer.headers["vary"].lower() == "origin"
    assert "access-control-allow-credentials" not in answer.headers
    forged = b"access-control-request-headers: x\xff, " + b"y" * 600
    answer = wire.ask(request(b"", SHOP, forged, method=b"OPTIONS", type=None), has_body=False)
    assert (answer.status, answer.headers.get("access-control-allow-headers")) == (204, None)


#: How a request shows a key of another source, beside the one that its body names.
OTHER: Mapping[str, tuple[bytes, bytes]] = {
    "in the query": (b"/track?writeKey=pages", b"x-a: b"),
    "as bearer": (b"/track", b"authorization: Bearer pages"),
    "as a user's name": (b"/track", basic(b"pages")),
    "in a library's path": (b"/v1/track?api_key=pages", basic(b"shop")),
    "in a path and the query": (b"/collect/any/shop?writeKey=pages", b"x-a: b"),
}


@pytest.mark.parametrize("case", OTHER)
def test_a_request_of_two_sources_is_of_none(door: Installation, wire: Wire, case: str) -> None:
    path, header = OTHER[case]
    before = written(door)
    answer = wire.ask(request(GOOD, header, path=path))
    assert (answer.status, code_of(answer)) == (400, "mixed_sources")
    assert MARK not in answer.raw
    assert written(door) == before


#: What shows no key of the source that requires one, and what no library's request may come without.
KEYLESS: Mapping[str, tuple[bytes, bytes, tuple[str, ...]]] = {
    "nothing": (b"/track", b"x-a: b", ("invalid_write_key",)),
    "its own id": (b"/track", b"authorization: Bearer locked", ("invalid_write_key",)),
    "its own id in the query": (b"/track?writeKey=locked", b"x-a: b", ("invalid_write_key",)),
    "a key that is none": (b"/track", b"authorization: Bearer " + MARK, ("invalid_write_key",)),
    "a key of 7 kB": (b"/track?writeKey=" + b"x" * 7_000, b"x-a: b", ("invalid_write_key",)),
    "a key that is no text": (b"/track", b"authorization: Bearer \xff", ("invalid_write_key",)),
    "what is no base64": (b"/track", b"authorization: Basic !!!", ("invalid_write_key",)),
    "a user's name that is no text": (b"/track", basic(b"\xff\xfe"), ("invalid_write_key",)),
    "another kind of credentials": (b"/track", b"authorization: Digest locked", ("invalid_write_key",)),
    "SQL": (b"/track?writeKey='%20or%201=1--", b"x-a: b", ("invalid_write_key",)),
    "a library without a key": (b"/v1/track", b"x-a: b", ("no_source",)),
    "a library with a wrong key": (b"/v1/track", basic(MARK), ("invalid_write_key", "unknown_source")),
    "a path": (b"/collect/any/locked", b"x-a: b", ("invalid_write_key",)),
}


@pytest.mark.parametrize("case", KEYLESS)
def test_without_a_key_where_one_is_required_nothing_is_taken(door: Installation, wire: Wire, case: str) -> None:
    path, header, codes = KEYLESS[case]
    before = written(door)
    answer = wire.ask(request(LOCKED, header, path=path))
    assert answer.status == 401
    assert code_of(answer) in codes
    assert MARK not in answer.raw
    assert wire.ask(HEALTH).status == 200
    assert written(door) == before


def test_a_key_opens_one_source_in_any_of_its_places_until_it_is_revoked(door: Installation) -> None:
    made = door.json("keys", "new", "locked")
    key = made["key"].encode()
    bearer = b"authorization: Bearer " + key
    with closing(Wire(door.url)) as wire:  # the door ends connections that say nothing while a command takes its time
        until(lambda: wire.ask(request(LOCKED, bearer)).status == 200, 10, door.tell)
        assert wire.ask(request(LOCKED, basic(key))).status == 200
        assert wire.ask(request(LOCKED, path=b"/track?writeKey=" + key)).status == 200
        assert code_of(wire.ask(request(GOOD, bearer))) == "mixed_sources"
        for almost in (key[:-1], key + b"x", key.swapcase(), key.replace(b"_", b"%5f")):
            assert wire.ask(request(LOCKED, b"authorization: Bearer " + almost)).status == 401
    assert door.command("keys", "revoke", made["id"]).returncode == 0
    with closing(Wire(door.url)) as later:
        until(lambda: later.ask(request(LOCKED, bearer)).status == 401, 10, door.tell)


@pytest.mark.parametrize("source", ["slowly", "slowly-each"])
def test_above_its_rate_a_source_is_told_when_to_come_again(door: Installation, wire: Wire, source: str) -> None:
    sent = request(body(event(), event(), source=source))
    assert wire.ask(sent).status == 200
    before = written(door)
    for _ in range(20):
        answer = wire.ask(sent)
        assert (answer.status, code_of(answer)) == (429, "rate_limited")
        assert int(answer.headers["retry-after"]) >= 1
    assert wire.ask(request(GOOD)).status == 200
    assert written(door) == before + 1


#: Paths that name something. All are refused, but one: it says nothing else than `/collect/a/shop`.
PATHS: Mapping[bytes, int] = {
    b"/collect": 404,
    b"/collect/": 404,
    b"/collect/a": 404,
    b"/collect//shop": 404,
    b"/collect/a/shop/": 404,
    b"/collect/a/shop/b/c": 404,
    b"/collect/a/shop/b%2fc": 404,
    b"/collect/" + b"a" * 4_000 + b"/shop": 404,
    b"/collect/a/shop/" + b"s" * 101: 404,
    b"/collect/a%2fb/shop": 401,
    b"/collect/a/sh%256fp": 401,
    b"/collect/a/shop%00": 401,
    b"/collect/a/'%20or%201=1": 401,
    b"/collect/../track": 401,
    b"/collect/a%00/shop": 400,
    b"/collect/\xc3\xa9/shop": 400,
    b"/collect/%7b%7b7*7%7d%7d/shop": 400,
    b"/collect/a/shop/s%00": 400,
    b"/collect/a/shop/null": 400,
    b"/collect/a/shop/%e2%80%ae": 400,
    b"/collect/%ff/shop": 404,
    b"/collect/a/shop/%ff": 404,
    b"/collect/a/shop/%ed%a0%80": 404,
    b"/collect/a/shop?" + b"&".join([b"a=1"] * 101): 400,
    b"/collect/a/sh%6fp": 200,
}


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_decoded_once_and_names_what_it_names(wire: Wire, path: bytes) -> None:
    answer = wire.ask(request(b'{"mark":"' + MARK + b'"}', path=path))
    assert answer.status == PATHS[path]
    assert MARK not in answer.raw
    assert wire.ask(HEALTH).status == 200


@pytest.mark.parametrize("query", [b"a=%ff", b"a=%ed%a0%80", b"a=%00"])
def test_a_query_that_is_no_text_is_refused(wire: Wire, query: bytes) -> None:
    answer = wire.ask(request(method=b"GET", path=b"/collect/a/shop?" + query, type=None, sized=False))
    assert answer.status == 400
    assert wire.ask(HEALTH).status == 200


@pytest.mark.parametrize(
    "path",
    [
        *(b"/redirect/out", b"/redirect/out?url=https://evil.example", b"/redirect/out?a=%0d%0aset-cookie:%20a=b"),
        *(b"/redirect/out/s%0d%0aset-cookie:%20a=b", b"/redirect/out?" + b"a=1&" * 200, b"/redirect/out?a=%ff"),
    ],
)
def test_a_link_leads_where_it_was_defined_to_lead(wire: Wire, path: bytes) -> None:
    cookies = b"cookie: headwater-session=\x09\xff; a=b"
    answer = wire.ask(request(b"", cookies, b"x-forwarded-host: evil.example", method=b"GET", path=path))
    assert (answer.status, answer.headers["location"]) == (302, "https://shop.example/sale")
    assert "set-cookie" not in answer.headers
    assert b"evil" not in answer.raw


@pytest.mark.parametrize(
    "path", [b"/redirect/", b"/redirect/nowhere", b"/redirect/out%0d%0aa:b", b"/redirect//evil.example"]
)
def test_a_link_that_nobody_defined_leads_nowhere(wire: Wire, path: bytes) -> None:
    answer = wire.ask(request(method=b"GET", path=path, type=None, sized=False))
    assert (answer.status, code_of(answer)) == (404, "not_found")
    assert "location" not in answer.headers


def test_settings_say_nothing_of_what_was_asked_with_but_the_key(wire: Wire) -> None:
    asked = request(method=b"GET", path=b"/v1/projects/" + MARK + b"/settings", type=None, sized=False)
    answer = wire.ask(asked)
    assert answer.status == 401
    assert MARK not in answer.raw
    json.loads(answer.body)
