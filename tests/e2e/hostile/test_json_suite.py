"""JSONTestSuite at the door: each document as a value in an event's properties, and as the whole body."""

import json
import zlib
from base64 import b64decode
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.e2e.hostile.bodies import holding
from tests.kit.installation import Installation
from tests.kit.wire import MARK, Wire, code_of, request

_FILE = Path(__file__).parents[2] / "data" / "json_suite.json"
DOCUMENTS: Mapping[str, bytes] = {
    name: zlib.decompress(b64decode(document)) for name, document in json.loads(_FILE.read_text()).items()
}

TAKEN = "accepted"
#: Good JSON that a limit of ours refuses, and where the standard leaves it open what we do: the event's reason, or the
#: code by which the whole request is refused.
PINNED: Mapping[str, str] = {
    "y_object_escaped_null_in_key": "nul_character",
    "y_string_null_escape": "nul_character",
    "i_number_double_huge_neg_exp": TAKEN,
    "i_number_huge_exp": "number_out_of_range",
    "i_number_neg_int_huge_exp": "number_out_of_range",
    "i_number_pos_double_huge_exp": "number_out_of_range",
    "i_number_real_neg_overflow": "number_out_of_range",
    "i_number_real_pos_overflow": "number_out_of_range",
    "i_number_real_underflow": "number_out_of_range",
    "i_number_too_big_neg_int": "number_out_of_range",
    "i_number_too_big_pos_int": "number_out_of_range",
    "i_number_very_big_negative_int": "number_out_of_range",
    "i_object_key_lone_2nd_surrogate": "invalid_json",
    "i_string_1st_surrogate_but_2nd_missing": "invalid_json",
    "i_string_1st_valid_surrogate_2nd_invalid": "invalid_json",
    "i_string_UTF-16LE_with_BOM": "invalid_encoding",
    "i_string_UTF-8_invalid_sequence": "invalid_encoding",
    "i_string_UTF8_surrogate_U+D800": "invalid_encoding",
    "i_string_incomplete_surrogate_and_escape_valid": "invalid_json",
    "i_string_incomplete_surrogate_pair": "invalid_json",
    "i_string_incomplete_surrogates_escape_valid": "invalid_json",
    "i_string_invalid_lonely_surrogate": "invalid_json",
    "i_string_invalid_surrogate": "invalid_json",
    "i_string_invalid_utf-8": "invalid_encoding",
    "i_string_inverted_surrogates_U+1D11E": "invalid_json",
    "i_string_iso_latin_1": "invalid_encoding",
    "i_string_lone_second_surrogate": "invalid_json",
    "i_string_lone_utf8_continuation_byte": "invalid_encoding",
    "i_string_not_in_unicode_range": "invalid_encoding",
    "i_string_overlong_sequence_2_bytes": "invalid_encoding",
    "i_string_overlong_sequence_6_bytes": "invalid_encoding",
    "i_string_overlong_sequence_6_bytes_null": "invalid_encoding",
    "i_string_truncated-utf-8": "invalid_encoding",
    "i_string_utf16BE_no_BOM": "invalid_encoding",
    "i_string_utf16LE_no_BOM": "invalid_encoding",
    "i_structure_500_nested_arrays": "too_deep",
    "i_structure_UTF-8_BOM_empty_object": "invalid_json",
}


@pytest.fixture(scope="module")
def line(door: Installation) -> Iterator[Wire]:
    """One connection for all documents."""
    opened = Wire(door.url)
    yield opened
    opened.close()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_of_the_suite_is_read_as_the_standard_says_or_as_we_do(line: Wire, name: str) -> None:
    document = DOCUMENTS[name]
    whole = line.ask(request(document))
    # None of them is a payload, but every one has a short answer.
    assert (whole.status, code_of(whole) != "", MARK in whole.raw) == (400, True, False)
    answer = line.ask(request(holding(document)))
    verdicts = json.loads(answer.body).get("events", [])
    found = [reason["code"] for one in verdicts for reason in one.get("reasons", [])] or [code_of(answer) or TAKEN]
    if name in PINNED:
        assert found == [PINNED[name]]
    elif name.startswith("y_"):
        assert found == [TAKEN]
    else:
        assert found[0] in ("invalid_json", "invalid_encoding", "too_deep")
        assert not verdicts
    assert answer.status == (200 if found == [TAKEN] else 400)
    assert MARK not in answer.raw


def test_every_document_that_the_standard_leaves_open_is_pinned() -> None:
    assert {name for name in DOCUMENTS if name.startswith("i_")} <= set(PINNED) <= set(DOCUMENTS)
    assert [sum(name.startswith(kind) for name in DOCUMENTS) for kind in ("y_", "n_", "i_")] == [95, 188, 35]
