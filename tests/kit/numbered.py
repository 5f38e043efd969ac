"""Numbered events of many sessions, what they must lead to, and whether they did: counted from what was sent alone."""

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from tests.kit.definitions import payload
from tests.kit.installation import Installation

#: Nothing here may depend on the order of arrival but `out_of_order` and what `hook` is told: they show it.
DEFINITIONS = """
kind: source
id: shop
---
kind: source
id: web
---
kind: event-type
id: lap
schema:
  type: object
  required: [number, amount]
  properties: {number: {type: integer}, amount: {type: integer}}
---
kind: rule
id: laps
event_type: lap
workflows: [count]
---
kind: workflow
id: count
nodes:
  count:
    action: update-profile
    config:
      set: {last: event.properties.number}
      append: {numbers: event.properties.number}
      increment:
        laps: "1"
        amount: event.properties.amount
        out_of_order: >-
          profile.counters["lap"] == event.properties.number
          && (has(profile.totals.laps) ? profile.totals.laps : 0) == event.properties.number - 1 ? 0 : 1
    then: [tell]
  tell:
    action: send-to-destination
    config: {destination: hook, properties: {number: event.properties.number, laps: profile.totals.laps}}
---
kind: segment
id: long
condition: profile.totals.laps >= 10
---
kind: destination
id: hook
type: webhook
url: URL
condition: "false"
timeout_s: 5
"""
LONG = 10


def lap(source: str, session: str, number: int) -> dict[str, Any]:
    """The payload of a session's event of this number."""
    event = {
        "id": f"{session}-{number}",
        "type": "lap",
        "timestamp": f"2026-01-02T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}Z",
        "properties": {"number": number, "amount": amount(number)},
    }
    return payload(source, event, session=session)


def amount(number: int) -> int:
    return number * number % 7


class Load:
    """Writes events to `tracks`, a few sessions' at a time. Now and then one twice, now and then one that is wrong."""

    def __init__(self, shop: Installation, sessions: int) -> None:
        self._shop, self._turn = shop, 0
        #: Source and session to how many of its events there are, numbered from 1. Others who send add theirs.
        self.counts: dict[tuple[str, str], int] = {("shop", f"session-{number}"): 0 for number in range(sessions)}
        self._sessions = list(self.counts)
        self.repeated = self.wrong = 0

    def send(self, sessions: int = 2) -> None:
        """The next event of each of these many sessions, in turn."""
        for _ in range(sessions):
            self._turn += 1
            source, session = key = self._sessions[self._turn % len(self._sessions)]
            self.counts[key] += 1
            body = lap(source, session, self.counts[key])
            bodies = [body, body] if self._turn % 10 == 0 else [body]
            if self._turn % 25 == 0:
                bodies.append(payload(source, {"id": f"wrong-{self._turn}", "type": "lap"}, session=session))
                self.wrong += 1
            self.repeated += self._turn % 10 == 0
            self._shop.write_all([json.dumps(body).encode() for body in bodies], key=session.encode())


def require_exact(shop: Installation, load: Load) -> None:
    """Everything that was sent took effect once, in its order; nothing else did."""
    counts = load.counts
    sent = {(source, f"{session}-{n}") for (source, session), count in counts.items() for n in range(1, count + 1)}
    assert set(shop.sql("select source, id from events")) == sent
    assert shop.one("select count(*) from events") == len(sent)
    assert shop.one("select count(*) from workflow_runs") == len(sent)
    found = {(source, session): rest for source, session, *rest in shop.sql(_PROFILES)}
    assert found == {key: _profile(count) for key, count in counts.items()}
    accounting = shop.require_balance()
    recorded = sum(count for (source, _), count in counts.items() if source == "shop")
    assert accounting["shop"] == {
        "accepted": recorded + load.repeated + load.wrong,
        "recorded": recorded,
        "duplicates": load.repeated,
        "rejected": load.wrong,
        "dead_letters": 0,
    }
    _require_changes(shop, counts)


_PROFILES = """
select s.source, s.id, c.count, t.totals->'laps', t.totals->'amount', t.totals->'out_of_order', t.traits->'last'->0,
    (select count(distinct n) from jsonb_array_elements(t.traits->'numbers'->0) n),
    coalesce((select array_agg(segment) from memberships m where m.profile_id = s.profile_id), '{}')
from sessions s join profile_traits t using (profile_id) join profile_counters c using (profile_id)
"""


def _profile(count: int) -> list[Any]:
    """What _PROFILES must say of a session with this many events."""
    total = sum(amount(number) for number in range(1, count + 1))
    return [count, count, total, 0, count, count, ["long"] if count >= LONG else []]


def _require_changes(shop: Installation, counts: dict[tuple[str, str], int]) -> None:
    """No reader of `profile-changes` sees a profile become older, and what it sees last is what PostgreSQL has."""
    versions: dict[str, list[int]] = defaultdict(list)
    bodies: dict[tuple[str, int], bytes] = {}
    for message in shop.records("profile-changes"):
        change = json.loads(message.value())
        versions[change["profile"]].append(change["version"])
        assert message.key() == change["profile"].encode()
        assert bodies.setdefault((change["profile"], change["version"]), message.value()) == message.value()
    assert all(seen == sorted(seen) for seen in versions.values()), versions
    last = {profile: seen[-1] for profile, seen in versions.items()}
    assert last == dict(shop.sql("select profile_id::text, version from profile_versions"))
    assert all(set(versions[profile]) == set(range(1, version + 1)) for profile, version in last.items())
    for source, session, profile in shop.sql("select source, id, profile_id::text from sessions"):
        change = json.loads(bodies[profile, last[profile]])
        count = counts[source, session]
        assert (change["counters"], change["totals"]["laps"], change["traits"]["last"]) == (
            {"lap": count},
            count,
            count,
        )
        assert change.get("segments", []) == (["long"] if count >= LONG else [])


def require_calls(load: Load, calls: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """A webhook was called for every event, again under the same key where again, first in each profile's order.

    `calls` are key and body, as they came.
    """
    by_key: dict[str, dict[str, Any]] = {}
    firsts: dict[str, list[dict[str, int]]] = defaultdict(list)
    for key, body in calls:
        if key not in by_key:
            firsts[body["profile"]].append(body["body"]["properties"])
        assert by_key.setdefault(key, body) == body
    wanted = [[{"number": n, "laps": n} for n in range(1, count + 1)] for count in load.counts.values()]
    assert sorted(firsts.values(), key=len) == sorted(wanted, key=len)
