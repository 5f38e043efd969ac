"""Write keys: who shows one is let in, until it is taken back; and of none more is kept than its hash."""

import asyncio
import json
import subprocess
import time
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.definitions import Change, plain
from deploy.operations.versions import change
from deploy.operations.write_keys import add_key, revoke_key
from processors.storage.database import Connection
from schemas.definitions.inbound import WriteKey
from tests.conftest import MakeInstallation
from tests.kit.definitions import payload
from tests.kit.installation import Installation
from tests.kit.processes import REPOSITORY, headwater
from tests.kit.waiting import until
from workflows.definitions import DefinitionError

DEFINITIONS = """
{kind: source, id: shop, requires_key: true}
---
{kind: source, id: web}
---
{kind: redirect, id: sale, source: web, url: "https://shop.example/", event_type: followed}
"""
#: What nobody may read in a log.
CANARY, EMAIL = "canary-4f1b", "jane.canary@example.com"


@pytest.fixture(scope="module")
def door(make_shared_installation: MakeInstallation) -> Installation:
    installation = make_shared_installation(DEFINITIONS, forked=True, log_format="json")
    installation.start("validate", "identify", "persist")
    installation.start_door()
    return installation


def ask(door: Installation, method: str, path: str, **request: Any) -> httpx.Response:
    with httpx.Client(base_url=door.url, trust_env=False, timeout=30) as client:
        return client.request(method, path, **request)


def track(door: Installation, key: str, source: str = "shop") -> tuple[int, str]:
    """What is answered to a payload with this key: status and code."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    answer = door.track(payload(source, {"type": "view"}), headers=headers)
    return answer.status_code, answer.json().get("error", {}).get("code", "")


def wait_until(door: Installation, key: str, answer: tuple[int, str], source: str = "shop") -> None:
    """A change is live within seconds."""
    until(lambda: track(door, key, source) == answer, 3, lambda: f"{track(door, key, source)}; {door.tell()}")


def make(door: Installation, source: str, name: str = "", key: str | None = None) -> tuple[str, str]:
    return asyncio.run(add_key(door.settings, source, name, key))


def listed(door: Installation, id: str) -> dict[str, Any]:
    (found,) = [one for one in door.json("keys", "list") if one["id"] == id]
    return dict(found)


def test_a_source_that_requires_a_key_is_opened_by_any_of_its_keys_until_that_one_is_revoked(
    door: Installation,
) -> None:
    for key in ("", "shop", "hw_nobodys", "x" * 500):
        assert track(door, key) == (401, "invalid_write_key"), key
    first, second = (door.json("keys", "new", "shop", "--name", name) for name in ("old", "new"))
    for made in (first, second):
        assert made["id"] == sha256(made["key"].encode()).hexdigest()
        wait_until(door, made["key"], (200, ""))
    said = door.command("keys", "revoke", first["id"][:12])
    assert (said.returncode, said.stdout) == (0, "revoked; it was a key of shop\n")
    wait_until(door, first["key"], (401, "invalid_write_key"))
    assert track(door, second["key"]) == (200, "")
    found = listed(door, second["id"])
    assert (found["source"], found["name"], found["begins"]) == ("shop", "new", second["key"][:4])


def test_a_key_from_elsewhere_lets_segments_clients_in(door: Installation) -> None:
    key = "dWZ0bHkgc2VnbWVudCBrZXk0Mg"
    done = subprocess.run(
        headwater("keys", "add", "shop", "--name", "segment"),
        cwd=REPOSITORY,
        env=door.variables(),
        input=f"  {key}\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert key not in done.stdout + done.stderr
    message = {"messageId": "from-segment", "type": "track", "event": "Song Played", "anonymousId": "a-1"}
    authorization = {"authorization": f"Basic {b64encode(f'{key}:'.encode()).decode()}"}
    until(lambda: ask(door, "POST", "/v1/track", json=message, headers=authorization).status_code == 200, 3, door.tell)
    query = "select source, type, session_id from events where id = 'from-segment'"
    assert until(lambda: door.sql(query), 20, door.tell) == [("shop", "song-played", "a-1")]


@pytest.mark.parametrize(
    "key", ["", "short", "fifteen-letters", "has spaces in it, quite some", "x" * 201, "new\nline" * 3]
)
def test_a_key_that_is_easy_to_guess_or_cannot_be_sent_is_refused(door: Installation, key: str) -> None:
    with pytest.raises(DefinitionError):
        make(door, "shop", key=key)


def test_a_key_is_of_one_source_that_exists_and_is_revoked_by_enough_of_its_id(door: Installation) -> None:
    key, id = make(door, "web", key="a-key-of-the-web-source")
    with pytest.raises(DefinitionError):
        make(door, "shop", key=key)
    with pytest.raises(LookupError):
        make(door, "nobody")
    for begin in ("", id[:5], "f" * 64, f"{id}0"):
        with pytest.raises(LookupError):
            asyncio.run(revoke_key(door.settings, begin))
    assert asyncio.run(revoke_key(door.settings, id[:6])) == "web"
    with pytest.raises(LookupError):
        asyncio.run(revoke_key(door.settings, id))


def test_keys_survive_a_folder_that_does_not_know_them_and_die_with_their_source(
    door: Installation, tmp_path: Path
) -> None:
    door.apply("{kind: source, id: passing}")
    (kept, kept_id), (lost, id) = make(door, "shop"), make(door, "passing")
    wait_until(door, lost, (200, ""), "passing")
    (tmp_path / "all.yaml").write_text(DEFINITIONS)
    done = door.command("apply", str(tmp_path), "--prune", "--yes")
    assert done.returncode == 0, done.stderr
    assert "- source/passing" in done.stdout
    assert f"- write-key/{id}" in done.stdout
    assert kept_id not in done.stdout
    wait_until(door, lost, (401, "unknown_source"), "passing")
    assert track(door, kept) == (200, "")
    with pytest.raises(LookupError):
        asyncio.run(revoke_key(door.settings, id))


SEGMENT = {"type": "track", "event": "e", "anonymousId": "a"}
PLACES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bearer": ("POST", "/track", {"json": payload("web", {"type": "e"}), "headers": {"authorization": "Bearer KEY"}}),
    "basic": ("POST", "/v1/track", {"json": SEGMENT, "auth": ("KEY", "")}),
    "segment's query": ("POST", "/v1/track?writeKey=KEY", {"json": SEGMENT}),
    "segment's message": ("POST", "/v1/track", {"json": {**SEGMENT, "writeKey": "KEY"}}),
    "segment's batch": ("POST", "/v1/batch", {"json": {"batch": [SEGMENT], "writeKey": "KEY"}}),
    "a message in a batch": ("POST", "/v1/batch", {"json": {"batch": [{**SEGMENT, "writeKey": "KEY"}]}}),
    "a pixel": ("GET", "/pixel/v1/track?event=e&anonymousId=a&writeKey=KEY", {}),
    "posthog's batch": ("POST", "/batch", {"json": {"api_key": "KEY", "batch": [{"event": "e", "distinct_id": "d"}]}}),
    "posthog's capture": ("POST", "/capture", {"json": {"api_key": "KEY", "event": "e", "distinct_id": "d"}}),
    "posthog's properties": (
        "POST",
        "/capture",
        {"json": {"event": "e", "distinct_id": "d", "properties": {"token": "KEY"}}},
    ),
    "a webhook's query": ("GET", "/collect/e/web?a=1&writeKey=KEY", {}),
    "the query behind a webhook's body": ("POST", "/collect/e/web?api_key=KEY", {"json": {"a": 1}}),
    "a link's query": ("GET", "/redirect/sale?a=1&write_key=KEY", {}),
}


@pytest.fixture(scope="module")
def everything(door: Installation) -> dict[str, tuple[str, str]]:
    """By place a key that was shown there, and its id; all that was sent with them is recorded."""
    written = {name: f"{CANARY}-key-{number:02}" for number, name in enumerate(PLACES)}
    keys = {name: (key, sha256(key.encode()).hexdigest()) for name, key in written.items()}

    async def all_of_them(connection: Connection, current: Mapping[str, Any]) -> Change:
        return {f"write-key/{id}": plain(WriteKey(id=id, source="web")) for _, id in keys.values()}

    asyncio.run(change(door.settings, all_of_them))
    keys["bearer"] = make(door, "web")
    last, _ = keys["bearer"]
    until(lambda: ask(door, "POST", "/v1/track", json=SEGMENT, auth=(last, "")).status_code == 200, 5, door.tell)
    for name, (method, path, request) in PLACES.items():
        whole = json.loads(json.dumps([path, request]).replace("KEY", keys[name][0]))
        if "auth" in whole[1]:
            whole[1]["auth"] = tuple(whole[1]["auth"])
        answer = ask(door, method, whole[0], **whole[1])
        assert answer.status_code in (200, 302), (name, answer.text)
    door.wait_through()
    return keys


@pytest.fixture(scope="module")
def stored(door: Installation, everything: dict[str, tuple[str, str]]) -> str:
    """All that PostgreSQL and Kafka have, as text."""
    tables = [name for (name,) in door.sql("select tablename from pg_tables where schemaname = 'public'")]
    rows = [row for table in tables for (row,) in door.sql(f"select t::text from {table} t")]
    topics = ("config", "tracks", "events-valid", "events-identified", "events-accepted", "dead-letters")
    records = [
        str((message.key(), message.value(), message.headers())) for topic in topics for message in door.records(topic)
    ]
    return "\n".join([*rows, *records])


@pytest.mark.parametrize("place", PLACES)
def test_a_key_is_kept_nowhere_wherever_it_was_shown_but_for_its_hash(
    door: Installation, everything: dict[str, tuple[str, str]], stored: str, place: str
) -> None:
    key, id = everything[place]
    assert id == sha256(key.encode()).hexdigest()
    assert stored.count(f"write-key/{id}") >= 2
    assert key not in stored
    assert key.encode().hex() not in stored


REFUSED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "a key that is none": ("POST", "/v1/track", {"json": SEGMENT, "auth": (f"{CANARY}-basic", "")}),
    "a bearer": ("POST", "/v1/track", {"json": SEGMENT, "headers": {"authorization": f"Bearer {CANARY}-bearer"}}),
    "a path": ("GET", f"/{CANARY}/{EMAIL}", {}),
    "a session in a path": ("POST", f"/collect/{CANARY}/nobody/{EMAIL}", {"json": {}}),
    "a query": ("GET", f"/collect/e/nobody?mail={EMAIL}&writeKey={CANARY}-query", {}),
    "a body": ("POST", "/track", {"json": payload("nobody", {"type": "e", "properties": {"mail": EMAIL}})}),
    "no JSON": ("POST", "/track", {"content": EMAIL, "headers": {"content-type": "application/json"}}),
    "a source": ("POST", "/track", {"json": payload(EMAIL, {"type": "e"})}),
    "headers": ("GET", "/nothing", {"headers": {"cookie": f"headwater-session={CANARY}", "user-agent": EMAIL}}),
}


def test_the_log_names_each_refused_request_and_nothing_that_came_with_it(door: Installation) -> None:
    second = int(time.monotonic())
    until(lambda: int(time.monotonic()) > second, 3)  # it writes so many lines in a second, and no more
    answers = [ask(door, method, path, **request) for method, path, request in REFUSED.values()]
    log = door.children["ingest"].output()
    said = {line["request_id"]: line for line in map(json.loads, log.splitlines()) if "request_id" in line}
    for answer in answers:
        error = answer.json()["error"]
        assert answer.headers["x-request-id"] == error["request_id"]
        line = said[error["request_id"]]
        assert (line["logger"], line["status"], line["code"]) == ("headwater.door", answer.status_code, error["code"])
        assert set(line) == {"time", "level", "logger", "message", "request_id", "status", "code"}
    for canary in (CANARY, EMAIL, "jane.canary", "anonymousId", "hw_", "127.0.0.1"):
        assert canary not in "\n".join(line for line in log.splitlines() if "serving on" not in line), canary
