"""What the records of `config` add up to."""

import msgspec

from deploy.feed import Known


def record(revision: int, body: dict[str, object] | None) -> bytes:
    return msgspec.json.encode({"revision": revision, "body": body})


def source(id: str, enabled: bool = True) -> dict[str, object]:
    return {"kind": "source", "id": id, "enabled": enabled}


def test_the_last_revision_of_a_definition_is_in_force_even_where_an_older_one_comes_after_it():
    known = Known()
    known.take("source/a", record(3, source("a", enabled=False)))
    known.take("source/a", record(2, source("a")))
    assert known.definitions["source/a"].enabled is False
    assert known.revision == 3


def test_a_definition_that_was_removed_stays_removed_when_an_older_record_comes_after():
    known = Known()
    known.take("source/a", record(1, source("a")))
    known.take("source/a", record(4, None))
    known.take("source/a", record(2, source("a")))
    assert known.definitions == {}


def test_an_older_revision_of_one_definition_does_not_hide_a_newer_one_of_another():
    known = Known()
    known.take("source/a", record(5, source("a")))
    known.take("source/b", record(4, source("b")))
    assert known.definitions.keys() == {"source/a", "source/b"}
    assert known.revision == 5


def test_a_record_without_a_value_removes_its_definition():
    known = Known()
    known.take("source/a", record(1, source("a")))
    known.take("source/a", None)
    assert known.definitions == {}
