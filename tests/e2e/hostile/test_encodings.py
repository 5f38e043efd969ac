"""How a body is wrapped: content types, character sets, gzip, and gzip that is not what it says."""

import gzip
from collections.abc import Mapping

import pytest

from tests.e2e.hostile.bodies import GOOD
from tests.e2e.hostile.test_bodies import written
from tests.kit.installation import Installation
from tests.kit.wire import HEALTH, MARK, Wire, code_of, request

ZIPPED = gzip.compress(GOOD)
GZIP = b"content-encoding: gzip"
UNSUPPORTED = (415, "unsupported_encoding")
BAD = (400, "bad_encoding")
LARGE = (413, "body_too_large")

#: Body, content-encoding headers, status and code.
ENCODED: Mapping[str, tuple[bytes, tuple[bytes, ...], tuple[int, str]]] = {
    "48 gzip": (ZIPPED, (GZIP,), (200, "")),
    "48 gzip in capitals": (ZIPPED, (b"content-encoding: GZIP",), (200, "")),
    "48 none": (GOOD, (b"content-encoding: identity",), (200, "")),
    "49 plain": (GOOD, (GZIP,), BAD),
    "49 empty": (b"", (GZIP,), BAD),
    "50 cut off in the data": (ZIPPED[:-20], (GZIP,), BAD),
    "50 cut off in the checksum": (ZIPPED[:-5], (GZIP,), BAD),
    "50 the last byte missing": (ZIPPED[:-1], (GZIP,), BAD),
    "50 a wrong checksum": (ZIPPED[:-8] + b"\0\0\0\0" + ZIPPED[-4:], (GZIP,), BAD),
    "51 something behind it": (ZIPPED + b"x", (GZIP,), BAD),
    "51 two members": (ZIPPED + gzip.compress(b" "), (GZIP,), BAD),
    "52 a bomb of 64 MB": (gzip.compress(bytes(64_000_000)), (GZIP,), LARGE),
    "52 gzip of nothing": (gzip.compress(b""), (GZIP,), (400, "empty_body")),
    "53 gzip in gzip": (gzip.compress(ZIPPED), (GZIP,), (400, "invalid_encoding")),
    "53 gzip, gzip": (gzip.compress(ZIPPED), (b"content-encoding: gzip, gzip",), UNSUPPORTED),
    "53 gzip said twice": (gzip.compress(ZIPPED), (GZIP, GZIP), UNSUPPORTED),
    "53 identity, then gzip": (ZIPPED, (b"content-encoding: identity", GZIP), UNSUPPORTED),
    "53 what is no text": (GOOD, (b"content-encoding: \xff",), UNSUPPORTED),
    **{
        f"53 {name}": (GOOD, (b"content-encoding: " + name.encode(),), UNSUPPORTED)
        for name in ("br", "zstd", "deflate", "compress", "x-gzip", "gzip;q=1", "nonsense")
    },
    "56 a byte too many inside": (gzip.compress(GOOD.ljust(1_000_001)), (GZIP,), LARGE),
    "56 as large as it may be inside": (gzip.compress(GOOD.ljust(1_000_000)), (GZIP,), (200, "")),
}


@pytest.mark.parametrize("case", ENCODED)
def test_a_body_is_inflated_whole_and_within_limits_or_not_at_all(door: Installation, wire: Wire, case: str) -> None:
    sent, headers, expected = ENCODED[case]
    before = written(door)
    answer = wire.ask(request(sent, *headers))
    assert (answer.status, code_of(answer)) == expected
    assert MARK not in answer.raw
    assert wire.ask(HEALTH).status == 200
    assert written(door) == before + (answer.status == 200)


TAKEN = (
    "application/json",
    "APPLICATION/JSON",
    "application/json; charset=utf-8",
    'application/json;charset="UTF-8"',
    "text/plain",
    "text/plain;charset=UTF-8",
)
#: By class, content types; None for no header.
REFUSED: Mapping[str, tuple[str | None, ...]] = {
    "45": (
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "text/html",
        "application/yaml",
        "application/x-python-pickle",
        "application/x-protobuf",
        "application/jsonp",
        "application/json, text/plain",
        "*/*",
        "json",
        "\xff",
    ),
    "46": (None, ""),
    "47": (
        "application/json; charset=utf-16",
        "application/json; charset=utf-7",
        "application/json; charset=nonsense",
        "application/json; charset=",
        "application/json; charset=utf-8; charset=utf-16",
        "application/json; charset = utf-16",
        "text/plain; charset=iso-8859-1",
    ),
}


@pytest.mark.parametrize("type", TAKEN)
def test_json_in_utf_8_is_taken_under_any_name_of_it(wire: Wire, type: str) -> None:
    assert wire.ask(request(GOOD, type=b"content-type: " + type.encode())).status == 200


@pytest.mark.parametrize("case", [(number, type) for number, types in REFUSED.items() for type in types], ids=str)
def test_a_body_of_another_type_is_not_looked_at(door: Installation, wire: Wire, case: tuple[str, str | None]) -> None:
    header = None if case[1] is None else b"content-type: " + case[1].encode("latin-1")
    before = written(door)
    answer = wire.ask(request(GOOD, type=header))
    assert (answer.status, code_of(answer)) == (415, "unsupported_media_type")
    assert MARK not in answer.raw
    assert wire.ask(HEALTH).status == 200
    assert written(door) == before


def test_a_second_content_type_does_not_make_the_first_one_true(wire: Wire) -> None:
    assert wire.ask(request(GOOD, b"content-type: application/json", type=b"content-type: text/xml")).status == 415
    assert wire.ask(request(GOOD, b"content-type: text/xml")).status == 415
