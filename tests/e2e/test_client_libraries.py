"""Libraries for servers, as they come from their registries: only the address and the write key are ours."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pytest

from tests.conftest import MakeInstallation
from tests.kit.between import Between
from tests.kit.door import answered, new_key, revoke
from tests.kit.installation import IDENTITY_KEY, Installation
from tests.kit.node import CLIENTS, beside_packages, node
from tests.kit.recorded import Event, differences, events, identifiers, owner, traits

SEGMENT = ("segment_python", "rudder_python", "segment_node")
#: Those with `v1` send in the newer of two ways, which an environment variable of theirs switches on.
POSTHOG = ("posthog_python", "posthog_node", "posthog_python_v1", "posthog_node_v1")
LIBRARIES = (*SEGMENT, *POSTHOG)
#: Each library has a source of its own, which takes nothing without a key.
DEFINITIONS = "\n---\n".join(
    [
        *(f"{{kind: source, id: {library}, requires_key: true}}" for library in LIBRARIES),
        "{kind: source, id: once, requires_key: true}",
        "{kind: source, id: slow, rate: {per_second: 1, burst: 1}}",
        "{kind: predefined, id: clients}",
    ]
)
STAGES = ("validate", "identify", "persist", "route", "run-workflows", "merge", "record-failures")
SAID_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
#: So far are the clocks of Node's processes behind; Python's are right.
SLOW = timedelta(hours=3)

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(600)]


class Run(NamedTuple):
    """What a script said of itself."""

    started: datetime
    ended: datetime
    ids: list[str]
    errors: list[str]


#: The libraries' runs; a run whose script failed raises why.
Runs = Mapping[str, Future[Run]]


class Clients:
    """An installation, and the scripts of tests/clients against it."""

    def __init__(self, installation: Installation, folder: Path) -> None:
        self.installation = installation
        self._folder = beside_packages(folder)
        self.keys = {source: new_key(installation, source)[0] for source in (*LIBRARIES, "slow")}

    def run(self, library: str, what: str, tag: str, url: str = "", key: str = "") -> Run:
        """Let a library do `everything`, or something else that its script knows, with ids that begin with a tag."""
        name = library.removesuffix("_v1")
        program: list[str | Path] = (
            [node().node, "--import", self._folder / "slow_clock.mjs", self._folder / f"{name}.mjs"]
            if name.endswith("node")
            else [sys.executable, CLIENTS / f"{name}.py"]
        )
        started = datetime.now(UTC)
        done = subprocess.run(
            [*program, url or self.installation.url, key or self.keys[library], tag, what],
            env=os.environ | ({"POSTHOG_CAPTURE_MODE": "v1"} if library.endswith("v1") else {}),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout.splitlines()[-1])
        return Run(started, datetime.now(UTC), said["ids"], said["errors"])

    def run_all(self, run: Callable[[str], Run]) -> Runs:
        """Let all libraries do something at the same time, and wait until it has come through."""
        with ThreadPoolExecutor(len(LIBRARIES)) as pool:
            runs = {library: pool.submit(run, library) for library in LIBRARIES}
        self.installation.wait_through()
        return runs


@pytest.fixture(scope="module")
def clients(make_shared_installation: MakeInstallation, tmp_path_factory: pytest.TempPathFactory) -> Clients:
    installation = make_shared_installation(DEFINITIONS, forked=True)
    installation.start(*STAGES)
    installation.start_door()
    return Clients(installation, tmp_path_factory.mktemp("clients"))


@pytest.fixture(scope="module")
def everything(clients: Clients) -> Runs:
    """All libraries have made all their calls."""
    return clients.run_all(lambda library: clients.run(library, "everything", library))


ORDER = {"total": 3.5, "items": [{"sku": "a", "gift": None}]}
DOCS = {"url": "https://example.com/docs"}


def segment_events(library: str) -> list[Event]:
    """What must have become of the calls of a library of Segment's kind."""
    phone, laptop, before, stranger, user = names(library)
    first_name = "firstName" if library == "segment_node" else "first_name"
    jane = {"email": f"{user}@example.com", first_name: "Jane"}
    page = {"name": "Node" if library == "segment_node" else "Python", "category": "Docs", **DOCS}

    def anonymous(type: str, device: str, properties: dict[str, Any], **context: Any) -> Event:
        return Event(type, device, properties, {"anonymous_id": device, **context})

    def known(type: str, properties: dict[str, Any], **context: Any) -> Event:
        return Event(type, session("user", user), properties, {"user_id": user, **context})

    return [
        anonymous("order-completed", phone, ORDER, ip="203.0.113.9"),
        anonymous("identify", phone, jane, user_id=user),
        anonymous("cart-viewed", laptop, {}),
        anonymous("identify", laptop, {"city": "Ghent"}, user_id=user),
        known("page-view", page),
        known("screen-view", {"name": "Main", "category": "Settings", "dark": True}),
        known("group", {"group_id": f"{library}-group", "traits": {"name": "ACME"}}),
        anonymous("product-viewed", before, {}),
        known("alias", {"previous_id": before}),
        known("signed-up", {"plan": "pro"}, event_name="Signed Up!"),
        anonymous("page-left", stranger, {}),
    ]


def posthog_events(library: str) -> list[Event]:
    """What must have become of the calls of a library of PostHog's."""
    phone, laptop, before, stranger, user = names(library)
    group = {"group_id": f"{library}-group", "group_type": "company", "traits": {"name": "ACME"}}
    # Python's says who it was, and then who it is; Node's the other way round.
    who, other = (before, user) if library.startswith("posthog_python") else (user, before)

    def captured(type: str, distinct_id: str, properties: dict[str, Any], **context: Any) -> Event:
        return Event(type, session("user", distinct_id), properties, {"anonymous_id": distinct_id, **context})

    found = [
        captured("order-completed", phone, ORDER),
        captured("identify", user, {"email": f"{user}@example.com"}, anonymous_id=phone, user_id=user),
        captured("cart-viewed", laptop, {}),
        captured("page-view", user, DOCS),
        captured("screen-view", user, {"name": "Settings"}),
        captured("group", user, group),
        captured("product-viewed", before, {}),
        captured("alias", who, {"previous_id": other}),
        captured("identify", user, {"first_name": "Jane"}),
        captured("signed-up", user, {"plan": "pro"}, event_name="Signed Up!"),
        captured("page-left", stranger, {}),
        captured("feature_flag_called", user, {"$feature_flag": "beta", "locally_evaluated": False}),
    ]
    if library.startswith("posthog_python"):
        return [
            *found,
            captured("identify", user, {}, anonymous_id=laptop, user_id=user),
            captured("identify", user, {"set_once": {"city": "Ghent"}}),
            Event("nobody-came", None, {}, {}),
        ]
    return [
        *found,
        captured("identify", user, {"set_once": {"city": "Ghent"}}, anonymous_id=laptop, user_id=user),
        Event("group", None, group, {}),
    ]


def session(kind: Literal["device", "user"], id: str) -> str:
    """The session of a device bears its name; that of a user, or of who may be one, a hash that no one can read."""
    if kind == "device":
        return id
    key = IDENTITY_KEY.encode()
    name = blake2b(f"session\x1f{id}".encode(), key=key, digest_size=16, person=b"identifier").hexdigest()
    return f"user:{name}"


def names(tag: str) -> tuple[str, ...]:
    return tuple(f"{tag}-{one}" for one in ("phone", "laptop", "before", "stranger", "user"))


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_call_arrives_as_its_event_and_nothing_else_does(
    clients: Clients, everything: Runs, library: str
) -> None:
    assert everything[library].result().errors == []
    expected = segment_events(library) if library in SEGMENT else posthog_events(library)
    assert differences(events(clients.installation, library), expected) == ([], [])
    assert clients.installation.sql("select * from failures where source = %s", library) == []


@pytest.mark.parametrize("library", LIBRARIES)
def test_events_have_the_ids_that_the_library_gave_them(clients: Clients, everything: Runs, library: str) -> None:
    given = everything[library].result().ids
    assert given
    recorded = {id for (id,) in clients.installation.sql("select id from events where source = %s", library)}
    assert set(given) <= recorded


@pytest.mark.parametrize("library", LIBRARIES)
def test_events_have_the_times_at_which_they_happened_by_our_clock(
    clients: Clients, everything: Runs, library: str
) -> None:
    run = everything[library].result()
    said_at = SAID_AT + SLOW if "node" in library else SAID_AT
    query = "select type, occurred_at, received_at, time_corrected from events where source = %s"
    for type, occurred_at, received_at, time_corrected in clients.installation.sql(query, library):
        assert not time_corrected, type
        assert run.started < received_at < run.ended, type
        if type == "order-completed":
            # The library says when it sent: what lies between there and here is taken for a difference of clocks.
            assert timedelta() <= occurred_at - said_at < run.ended - run.started
        else:
            assert run.started < occurred_at <= received_at, type


@pytest.mark.parametrize("library", LIBRARIES)
def test_all_that_somebody_did_is_on_one_profile_and_a_strangers_is_not(
    clients: Clients, everything: Runs, library: str
) -> None:
    everything[library].result()
    phone, laptop, before, stranger, user = names(library)
    kind: Literal["device", "user"] = "device" if library in SEGMENT else "user"
    sessions = [session(kind, device) for device in (phone, laptop, before)]
    (profile,) = {owner(clients.installation, library, one) for one in (*sessions, session("user", user))}
    assert owner(clients.installation, library, session(kind, stranger)) != profile
    known = {("user-id", user), *(("anonymous-id", device) for device in (phone, laptop, before))}
    assert known <= identifiers(clients.installation, profile)
    query = "select * from merge_conflicts where %s = any(profiles::text[])"
    assert clients.installation.sql(query, profile) == []


@pytest.mark.parametrize("library", POSTHOG)
def test_what_is_said_of_nobody_makes_no_profile(clients: Clients, everything: Runs, library: str) -> None:
    everything[library].result()
    query = "select profile_id from events where source = %s and session_id is null"
    profiles = clients.installation.sql(query, library)
    assert profiles
    assert set(profiles) == {(None,)}


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_is_said_of_somebody_is_on_their_profile(clients: Clients, everything: Runs, library: str) -> None:
    everything[library].result()
    profile = owner(clients.installation, library, session_of_phone(library, library))
    assert traits(clients.installation, profile) == {
        "email": f"{library}-user@example.com",
        "first_name": "Jane",
        "city": "Ghent",
        "groups": [f"{library}-group"],
    }


def session_of_phone(library: str, tag: str) -> str:
    return session("device" if library in SEGMENT else "user", f"{tag}-phone")


class Resent(NamedTuple):
    """What the libraries said with a key, and what the door answered to each."""

    key: str
    key_id: str
    runs: Runs
    statuses: Mapping[str, list[int]]


@pytest.fixture(scope="module")
def resent(clients: Clients) -> Resent:
    key, key_id = new_key(clients.installation, "once")
    with ExitStack() as stack:
        before = {
            library: stack.enter_context(closing(Between(clients.installation.url, lost=1))) for library in LIBRARIES
        }
        runs = clients.run_all(
            lambda library: clients.run(library, "once", f"{library}-lost", url=before[library].url, key=key)
        )
    return Resent(key, key_id, runs, {library: [seen.status for seen in one.seen] for library, one in before.items()})


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_is_sent_again_because_the_answer_was_lost_is_recorded_once(
    clients: Clients, resent: Resent, library: str
) -> None:
    run = resent.runs[library].result()
    assert run.errors == []
    assert resent.statuses[library] == [200, 200]
    (id,) = run.ids
    query = "select session_id from events where source = 'once' and id = %s"
    assert clients.installation.sql(query, id) == [(session_of_phone(library, f"{library}-lost"),)]
    query = "select count(*) from event_duplicates where source = 'once' and id = %s"
    assert clients.installation.one(query, id) == 1


class Revoked(NamedTuple):
    """What the libraries said with a key that was revoked, and how many requests were refused for it."""

    runs: Runs
    refused: float


@pytest.fixture(scope="module")
def revoked(clients: Clients, resent: Resent) -> Revoked:
    revoke(clients.installation, resent.key, resent.key_id)
    refused = answered(clients.installation, "invalid_write_key")
    runs = clients.run_all(lambda library: clients.run(library, "once", f"{library}-revoked", key=resent.key))
    return Revoked(runs, answered(clients.installation, "invalid_write_key") - refused)


@pytest.mark.parametrize("library", LIBRARIES)
def test_with_a_key_that_was_revoked_nothing_is_recorded_and_the_library_says_so(
    clients: Clients, revoked: Revoked, library: str
) -> None:
    (error,) = revoked.runs[library].result().errors
    assert "401" in error or "Unauthorized" in error
    sessions = clients.installation.sql("select session_id from events where source = 'once'")
    assert (session_of_phone(library, f"{library}-lost"),) in sessions
    assert (session_of_phone(library, f"{library}-revoked"),) not in sessions


def test_what_was_refused_for_its_key_is_not_sent_again(revoked: Revoked) -> None:
    assert revoked.refused == len(LIBRARIES)


def test_what_is_sent_too_fast_is_refused_and_sent_again_when_the_door_says(clients: Clients) -> None:
    limited = answered(clients.installation, "rate_limited")
    run = clients.run("segment_python", "too-much", "fast", key=clients.keys["slow"])
    assert run.errors == []
    assert answered(clients.installation, "rate_limited") > limited
    clients.installation.wait_through()
    assert len(run.ids) == 4
    recorded = clients.installation.sql("select id from events where source = 'slow'")
    assert sorted(recorded) == sorted((id,) for id in run.ids)
    assert clients.installation.sql("select 1 from event_duplicates where source = 'slow'") == []


def test_everything_that_the_libraries_sent_has_one_outcome(clients: Clients) -> None:
    clients.installation.wait_through()
    balance = clients.installation.require_balance()
    assert not any(numbers["rejected"] or numbers["dead_letters"] for numbers in balance.values())
