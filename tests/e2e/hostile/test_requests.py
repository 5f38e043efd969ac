"""Requests that are not quite HTTP: refused, and the connection ended where nobody can say what follows on it."""

from collections.abc import Mapping
from typing import NamedTuple

import pytest

from tests.e2e.hostile.bodies import GOOD
from tests.e2e.hostile.test_bodies import written
from tests.kit.installation import Installation
from tests.kit.wire import HEALTH, MARK, Wire, code_of, request

SIZE = b"content-length: %d" % len(GOOD)
CHUNKED = b"transfer-encoding: chunked"
CHUNK = b"%x\r\n" % len(GOOD) + GOOD + b"\r\n"
END = b"0\r\n\r\n"


def chunked(body: bytes, *headers: bytes, coding: bytes = CHUNKED) -> bytes:
    return request(body, coding, *headers, sized=False)


class Expected(NamedTuple):
    """What is answered: one of these statuses, with this code ("" from the server itself); and whether it closes."""

    statuses: tuple[int, ...]
    code: str = ""
    closes: bool = True


NO_HTTP = Expected((400,))
NOT_FOUND = Expected((404,), "not_found", False)
NOT_ALLOWED = Expected((405,), "method_not_allowed", False)
TOO_LARGE = Expected((413,), "body_too_large")
#: The head says where a body ends in a way that has no one meaning; some of it only shows when the door looks.
FRAMING = Expected((400, 501))

REFUSED: Mapping[str, tuple[bytes, Expected]] = {
    **{f"43 {name}": (request(GOOD, method=name.encode()), NOT_ALLOWED) for name in ("GET", "PUT", "DELETE", "PATCH")},
    **{
        f"43 {name}": (request(GOOD, method=name.encode()), NOT_ALLOWED) for name in ("TRACE", "CONNECT", "post", "FOO")
    },
    "43 a method with a bracket": (request(GOOD, method=b"PO{ST"), NO_HTTP),
    "43 no method": (request(GOOD, method=b""), NO_HTTP),
    "54 a length over the limit": (request(b"{", b"content-length: 1000001", sized=False), TOO_LARGE),
    "54 a length of a terabyte": (request(b"{", b"content-length: 1000000000000", sized=False), TOO_LARGE),
    "54 asked first": (request(b"", b"expect: 100-continue", b"content-length: 2000000", sized=False), TOO_LARGE),
    "55 a large chunk": (chunked(b"200000\r\n" + b" " * 1_100_000), TOO_LARGE),
    "55 many chunks": (chunked((b"8000\r\n" + b" " * 0x8000 + b"\r\n") * 40), TOO_LARGE),
    "60 a negative length": (request(GOOD, b"content-length: -1", sized=False), NO_HTTP),
    "60 a length with a plus": (request(GOOD, b"content-length: +%d" % len(GOOD), sized=False), NO_HTTP),
    "60 a length in hex": (request(GOOD, b"content-length: 0x10", sized=False), NO_HTTP),
    "60 a length of 31 digits": (request(GOOD, b"content-length: 1" + b"0" * 30, sized=False), NO_HTTP),
    "60 two lengths": (request(GOOD, b"content-length: 3"), NO_HTTP),
    "60 two lengths in one": (request(GOOD, b"content-length: 3, 3", sized=False), NO_HTTP),
    "60 an unknown coding": (chunked(CHUNK + END, coding=b"transfer-encoding: xchunked"), FRAMING),
    "60 identity": (chunked(CHUNK + END, coding=b"transfer-encoding: identity"), FRAMING),
    "60 chunked twice": (chunked(CHUNK + END, coding=b"transfer-encoding: chunked, chunked"), FRAMING),
    "60 gzip, chunked": (chunked(CHUNK + END, coding=b"transfer-encoding: gzip, chunked"), FRAMING),
    "60 chunked in HTTP/1.0": (request(CHUNK + END, CHUNKED, sized=False, version=b"HTTP/1.0"), FRAMING),
    "62 a header of 9 kB": (request(GOOD, b"x-a: " + b"a" * 9_000), Expected((400, 431))),
    "62 a header of 600 kB": (request(GOOD, b"x-a: " + b"a" * 600_000), Expected((400, 431))),
    "62 a header's name of 70 kB": (request(GOOD, b"a" * 70_000 + b": a"), Expected((400, 431))),
    "62 5,000 headers": (request(GOOD, *[b"x-%d: a" % one for one in range(5_000)]), Expected((400, 431))),
    "62 a path of 70 kB": (request(GOOD, path=b"/track/" + b"a" * 70_000), Expected((400, 414, 431))),
    "62 a path of 600 kB": (request(GOOD, path=b"/track/" + b"a" * 600_000), Expected((400, 414, 431))),
    "62 a query of 8 kB": (request(GOOD, path=b"/track?" + b"a" * 8_193), Expected((400, 414, 431), closes=False)),
    "63 a NUL in a value": (request(GOOD, b"x-a: a\0b"), NO_HTTP),
    "63 a return in a value": (request(GOOD, b"x-a: a\rb"), NO_HTTP),
    "63 a line that is no header": (request(GOOD, b"x-a: a\nb"), NO_HTTP),
    "63 a control character": (request(GOOD, b"x-a: a\x01b"), NO_HTTP),
    "63 a folded line": (request(GOOD, b"x-a: a\r\n b"), NO_HTTP),
    "63 a blank before the colon": (request(GOOD, b"x-a : b"), NO_HTTP),
    "63 a blank before the name": (request(b"", b" x-a: b", host=None, type=None, sized=False), NO_HTTP),
    "63 no name": (request(GOOD, b": b"), NO_HTTP),
    "63 a NUL in a name": (request(GOOD, b"x\0a: b"), NO_HTTP),
    "63 a name that is no ASCII": (request(GOOD, b"x-\xe9: b"), NO_HTTP),
    "64 no host": (request(GOOD, host=None), Expected((400,), closes=False)),
    "64 two hosts": (request(GOOD, b"host: other"), Expected((400,), closes=False)),
    "64 HTTP/0.9": (b"GET /track\r\n\r\n", NO_HTTP),
    "64 HTTP/1.2": (request(GOOD, version=b"HTTP/1.2"), NO_HTTP),
    "64 HTTP/2.0 in words": (request(GOOD, version=b"HTTP/2.0"), NO_HTTP),
    "64 TLS": (bytes.fromhex("16030100c8010000c40303") + bytes(range(189)), NO_HTTP),
    "64 every byte there is": (bytes(range(256)), NO_HTTP),
    "64 a tab for a blank": (request(GOOD).replace(b"POST ", b"POST\t", 1), NO_HTTP),
    "68 another expectation": (request(GOOD, b"expect: banana"), Expected((417,), closes=False)),
    **{
        f"69 {path}": (request(GOOD, path=path.encode()), NOT_FOUND)
        for path in (
            *(
                "/",
                "//track",
                "/track/",
                "/./track",
                "/../track",
                "/x/../track",
                "/%2e%2e/track",
                "/track%2f",
                "/TRACK",
            ),
            *("/track%00", "/track%20", "/track%ff", "/track%", "/track;a=b", "/track\\", "/tr%2561ck", "*", "track"),
            *("/%0d%0aset-cookie:%20a=b", "http://door/../track", "/.git/config", "/" + MARK.decode()),
        )
    },
    "69 a byte that is no ASCII": (request(GOOD, path=b"/track\xff"), NO_HTTP),
    "69 a control character": (request(GOOD, path=b"/track\x01"), NO_HTTP),
    "71 101 parameters": (
        request(GOOD, path=b"/track?" + b"&".join([b"a=1"] * 101)),
        Expected((400,), "query_too_long", False),
    ),
    "71 events in the query": (request(b"", path=b"/track?events=1&events=2"), Expected((400,), "empty_body", False)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_proper_request_is_refused_and_leaves_nothing(door: Installation, wire: Wire, case: str) -> None:
    sent, expected = REFUSED[case]
    before = written(door)
    answer = wire.ask(sent)
    assert answer.status in expected.statuses
    if expected.code:
        assert code_of(answer) == expected.code
    assert MARK not in answer.raw
    if answer.status == 405:
        assert answer.headers["allow"] == "POST"
    if expected.closes:
        assert wire.is_closed()
    elif answer.headers.get("connection") != "close":
        assert wire.ask(HEALTH).status == 200
    assert written(door) == before


def test_head_is_refused_without_a_body(wire: Wire) -> None:
    assert wire.ask(request(method=b"HEAD", type=None, sized=False), has_body=False).status == 405
    assert wire.ask(HEALTH).status == 200


#: The beginning of a payload, in a chunk of its own.
HALF = b"%x\r\n" % (len(GOOD) - 9) + GOOD[:-9] + b"\r\n"
#: Of none of these the door can know that it has the whole: a form, or nothing at all, looks complete at any byte.
INCOMPLETE: Mapping[str, bytes] = {
    "59 a shorter payload": request(GOOD, b"content-length: %d" % (len(GOOD) + 9), sized=False),
    "59 no payload": request(b"", b"content-length: 9", path=b"/collect/paid/shop", sized=False),
    "59 half a form": request(
        b"amount=1",
        b"content-length: 14",
        path=b"/collect/paid/shop",
        type=b"content-type: application/x-www-form-urlencoded",
        sized=False,
    ),
    "59 half a form in chunks": request(
        b"8\r\namount=1\r\n",
        CHUNKED,
        path=b"/collect/paid/shop",
        type=b"content-type: application/x-www-form-urlencoded",
        sized=False,
    ),
    # A whole payload shows its own end: it may be taken where its chunks do not.
    "59 half a payload in chunks": chunked(HALF),
    "59 half a payload in half a chunk": chunked(b"%x\r\n" % len(GOOD) + GOOD[:-9]),
    "59 half a payload and no more chunks": chunked(HALF + END),
    "61 a size that is no number": chunked(b"zz\r\n" + GOOD + b"\r\n" + END),
    "61 a negative size": chunked(b"-1\r\n" + GOOD + b"\r\n" + END),
    "61 a size of 18 digits": chunked(b"f" * 18 + b"\r\n" + GOOD),
    "61 a size of 16 digits": chunked(b"f" * 16 + b"\r\n" + GOOD[:-9]),
    "61 a size with a prefix": chunked(b"0x" + CHUNK + END),
    "61 a wrong size behind a right one": chunked(HALF + b"zz\r\n" + GOOD[-9:] + b"\r\n" + END),
    "61 a chunk that goes on": chunked(HALF[:-2] + b"xx" + END),
    "61 an extension of 200 kB": chunked(CHUNK.replace(b"\r\n", b";a=" + b"b" * 200_000 + b"\r\n", 1) + END),
    "61 200,000 trailers": chunked(HALF + b"0\r\n" + b"x: y\r\n" * 200_000 + b"\r\n"),
}


@pytest.mark.parametrize("case", INCOMPLETE)
def test_what_did_not_arrive_whole_is_not_taken(door: Installation, wire: Wire, case: str) -> None:
    before = written(door)
    wire.send(INCOMPLETE[case])
    wire.end()
    answer = wire.answer()
    assert answer is None or answer.status in (400, 408), answer
    assert answer is None or MARK not in answer.raw
    assert wire.is_closed()
    assert written(door) == before


#: Odd, and what HTTP allows or says to be read so.
TAKEN: Mapping[str, bytes] = {
    "59 chunks": chunked(CHUNK + END),
    "61 a chunk's extension": chunked(CHUNK.replace(b"\r\n", b";a=b\r\n", 1) + END),
    "61 a trailer": chunked(CHUNK + b"0\r\nx-a: b\r\n\r\n"),
    "60 a length twice, the same": request(GOOD, SIZE),
    "62 90 headers": request(GOOD, *[b"x-%d: a" % one for one in range(90)]),
    "62 a header of 7 kB": request(GOOD, b"x-a: " + b"a" * 7_000),
    # RFC 9112, 2.2: a line feed alone may end a line.
    "63 lines that end in a line feed": request(GOOD).replace(b"\r\n", b"\n"),
    "63 a value that is no ASCII": request(GOOD, b"x-a: \xff\xfe"),
    "64 HTTP/1.0 without a host": request(GOOD, host=None, version=b"HTTP/1.0"),
    "64 the address in full": request(GOOD, path=b"http://door/track"),
    "64 empty lines before it": b"\r\n\r\n" + request(GOOD),
    "68 may it go on": request(GOOD, b"expect: 100-continue"),
    "69 a letter in hex": request(GOOD, path=b"/tr%61ck"),
    "71 100 parameters": request(GOOD, path=b"/track?" + b"&".join([b"a=1"] * 100)),
}


@pytest.mark.parametrize("case", TAKEN)
def test_what_is_only_odd_is_taken(door: Installation, wire: Wire, case: str) -> None:
    before = written(door)
    answer = wire.ask(TAKEN[case])
    if answer.status == 100:
        answer = wire.ask(b"")
    assert answer.status == 200
    assert written(door) == before + 1


def test_of_a_length_and_chunks_the_chunks_count_and_nothing_follows(door: Installation, wire: Wire) -> None:
    """RFC 9112, 6.3: what a proxy before the door took for the next request is not read as one."""
    before = written(door)
    wire.send(chunked(END + request(GOOD), b"content-length: %d" % len(END + request(GOOD))))
    answer = wire.answer()
    assert answer is not None
    assert answer.status == 400
    assert wire.is_closed()
    assert written(door) == before


def test_the_door_speaks_no_other_http(wire: Wire) -> None:
    wire.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
    answer = wire.answer()
    assert answer is None or answer.status == 400
    assert wire.is_closed()


def test_requests_one_behind_the_other_are_answered_in_order(wire: Wire) -> None:
    wire.send(request(GOOD) + request(b"{") + HEALTH + request(GOOD, path=b"/nowhere"))
    assert [answer.status for _ in range(4) if (answer := wire.answer())] == [200, 400, 200, 404]
