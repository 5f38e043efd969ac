"""Workflows that wait: for answers of real services, for time, for events; over slow services, outages and kill -9."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.conftest import MakeInstallation
from tests.kit.definitions import payload
from tests.kit.installation import Installation
from tests.kit.services import Services
from tests.kit.serving import Handler, Server
from tests.kit.waiting import until

pytestmark = pytest.mark.timeout(200)

STAGES = ("validate", "identify", "persist", "route", "run-workflows", "segment", "record-failures")
CANARY = "canary-of-a-token"


class Service:
    """A service that workflows ask. It answers when it is let, and remembers what it was asked and when."""

    def __init__(self) -> None:
        #: Path, idempotency key, authorization, body, begin, end.
        self.calls: list[tuple[str, str, str, Any, float, float]] = []
        #: Set: paths with `slow` are answered.
        self.open = threading.Event()
        #: How often to say 503 first, by path.
        self.failures: Counter[str] = Counter()
        service = self

        class Answering(Handler):
            def do_POST(self) -> None:
                begin, key = time.monotonic(), self.headers["idempotency-key"]
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if "slow" in self.path:
                    service.open.wait(30)
                fails = service.failures[self.path] > 0
                service.failures[self.path] -= 1
                answer = json.dumps({"tier": f"tier of {body.get('name')}"}).encode()
                self.send_response(503 if fails else 200)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)
                token = self.headers["authorization"]
                service.calls.append((self.path, key, token, body, begin, time.monotonic()))

        self._server = Server(Answering)

    @property
    def url(self) -> str:
        return f"{self._server.url}/v1/"

    def of(self, path: str) -> list[tuple[str, str, str, Any, float, float]]:
        return [call for call in list(self.calls) if call[0] == path]

    def close(self) -> None:
        self.open.set()
        self._server.close()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    started = Service()
    yield started
    started.close()


DEFINITIONS = """
kind: source
id: shop
---
kind: resource
id: crm
type: http
production: {url: URL, headers: {authorization: CANARY}}
---
kind: resource
id: stock
type: postgresql
production: {dsn: DSN}
---
kind: rule
id: ask
event_type: ask
workflows: [ask]
---
kind: workflow
id: ask
nodes:
  start: {action: start, then: [one, two]}
  one:
    action: http-request
    config: {resource: crm, method: POST, path: "/{event.properties.way}/one", body: {name: event.properties.name}}
    then: [both]
  two:
    action: http-request
    config: {resource: crm, method: POST, path: "/{event.properties.way}/two", body: {name: event.properties.name}}
    then: [both]
  both: {action: join, then: {all: [keep], some: [missing]}}
  keep:
    action: update-profile
    config: {set: {one: data.one.body.tier, two: data.two.body.tier}, increment: {asked: "1"}}
  missing: {action: update-profile, config: {increment: {missing: "1"}}}
---
kind: rule
id: query
event_type: query
workflows: [query]
---
kind: workflow
id: query
nodes:
  rows:
    action: query
    config:
      resource: stock
      sql: select %(sku)s || ' costs' as text, 12.5 as price
      values: {sku: event.properties.sku}
    then: [keep]
  keep: {action: update-profile, config: {set: {text: "data.rows[0].text", price: "data.rows[0].price"}}}
  write:
    action: query
    config: {resource: stock, sql: create table made_by_a_query (id int)}
    then: {error: [failed]}
  failed: {action: update-profile, config: {set: {failed: "true"}}}
---
kind: rule
id: cart
event_type: cart
workflows: [cart]
---
kind: workflow
id: cart
nodes:
  bought:
    action: wait-for-event
    config: {types: [buy], if: event.properties.cart == data.cart, seconds: 8}
    then: {came: [bought-it], timeout: [left-it]}
  note: {action: set-data, config: {values: {cart: event.properties.cart}}, then: [later]}
  later: {action: wait, config: {seconds: 1}, then: [waited]}
  waited: {action: update-profile, config: {increment: {waited: "1"}}}
  bought-it: {action: update-profile, config: {append: {bought: data.bought.properties.cart}}}
  left-it: {action: update-profile, config: {append: {left: data.cart}}}
---
kind: rule
id: plain
event_type: plain
workflows: [plain]
---
kind: workflow
id: plain
nodes:
  note: {action: update-profile, config: {increment: {plain: "1"}}}
"""


@pytest.fixture(scope="module")
def shop(make_shared_installation: MakeInstallation, service: Service, services: Services) -> Installation:
    definitions = DEFINITIONS.replace("URL", service.url).replace("CANARY", CANARY)
    installation = make_shared_installation(
        definitions.replace("DSN", services.new_database()), session_timeout_s=2, forked=True
    )
    installation.start(*STAGES)
    return installation


def send(shop: Installation, type: str, session: str, **properties: Any) -> None:
    event = {"type": type, "properties": properties}
    shop.write(json.dumps(payload("shop", event, session=session)).encode(), key=session.encode())


def states(shop: Installation, sessions: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Session to the traits and totals of its person."""
    rows = shop.sql(
        "select s.id, t.traits, t.totals from sessions s join profiles p on p.id = s.profile_id "
        "join profile_traits t on t.profile_id = coalesce(p.merged_into, p.id) where s.id = any(%s)",
        list(sessions),
    )
    return {session: {name: trait[0] for name, trait in traits.items()} | totals for session, traits, totals in rows}


def wait_over(shop: Installation, within_s: float = 60) -> None:
    """Until nothing that was sent is under way, and no run waits any more."""
    shop.wait_through()
    until(lambda: shop.one("select count(*) from parked_runs") == 0, within_s, shop.tell)
    shop.wait_through()


def started(shop: Installation, count: int) -> None:
    until(lambda: shop.one("select count(*) from parked_runs") == count, 30, shop.tell)


def test_two_calls_on_parallel_branches_overlap_and_their_answers_are_there_where_they_meet(
    shop: Installation, service: Service
) -> None:
    service.open.clear()
    send(shop, "ask", "overlap", way="slow", name="Ann")
    until(lambda: shop.one("select count(*) from outside_calls where tries = 1") == 2, 30, shop.tell)
    # While the service says nothing, others go on: another workflow, and calls to another path of it.
    send(shop, "plain", "overlap")
    send(shop, "ask", "quick", way="quick", name="Bob")
    until(lambda: states(shop, ["quick"]).get("quick", {}).get("asked") == 1, 30, shop.tell)
    assert states(shop, ["overlap"])["overlap"] == {"plain": 1}
    service.open.set()
    wait_over(shop)
    found = states(shop, ["overlap"])["overlap"]
    assert found == {"plain": 1, "asked": 1, "one": "tier of Ann", "two": "tier of Ann"}
    ((*_, begin_one, end_one),) = service.of("/v1/slow/one")
    ((*_, begin_two, end_two),) = service.of("/v1/slow/two")
    assert max(begin_one, begin_two) < min(end_one, end_two)


def test_a_service_that_fails_is_asked_again_under_the_same_key(shop: Installation, service: Service) -> None:
    service.failures["/v1/flaky/one"] = 2
    send(shop, "ask", "flaky", way="flaky", name="Eve")
    wait_over(shop)
    assert states(shop, ["flaky"])["flaky"]["asked"] == 1
    calls = service.of("/v1/flaky/one")
    assert len(calls) == 3
    assert len({key for _, key, *_ in calls}) == 1
    assert {token for _, _, token, *_ in calls} == {CANARY}


def test_a_query_has_its_rows_and_may_not_write(shop: Installation) -> None:
    send(shop, "query", "query", sku="x'; drop table events; --")
    wait_over(shop)
    assert states(shop, ["query"])["query"] == {
        "text": "x'; drop table events; -- costs",
        "price": 12.5,
        "failed": True,
    }


def test_runs_wait_for_time_and_for_the_event_that_they_mean(shop: Installation) -> None:
    send(shop, "cart", "buyer", cart="c-1")
    send(shop, "cart", "leaver", cart="c-2")
    send(shop, "buy", "buyer", cart="another")
    send(shop, "buy", "leaver", cart="c-1")
    send(shop, "buy", "buyer", cart="c-1")
    wait_over(shop)
    assert states(shop, ["buyer", "leaver"]) == {
        "buyer": {"waited": 1, "bought": ["c-1"]},
        "leaver": {"waited": 1, "left": ["c-2"]},
    }
    outcome = shop.one(
        "select outcome from workflow_runs r join events e on e.id = r.event_id "
        "where e.type = 'cart' and e.session_id = 'buyer'"
    )
    assert sorted(outcome["cart"]["nodes"]) == ["bought", "bought-it", "later", "note", "waited"]
    assert "waiting" not in outcome["cart"]


def test_runs_that_wait_go_on_exactly_once_over_kills(shop: Installation, service: Service) -> None:
    sessions = [f"killed-{number}" for number in range(30)]
    service.open.clear()
    for session in sessions:
        send(shop, "ask", session, way="slow", name=session)
        send(shop, "cart", session, cart=session)
    started(shop, 2 * len(sessions))
    shop.kill("run-workflows")  # with calls under way
    shop.restart("run-workflows")
    service.open.set()
    for session in sessions[::2]:
        send(shop, "buy", session, cart=session)
    for _ in range(3):
        before = shop.one("select count(*) from parked_runs")
        until(
            lambda before=before: shop.one("select count(*) from parked_runs") < before or before == 0, 100, shop.tell
        )
        shop.kill("run-workflows")
        shop.restart("run-workflows")
    wait_over(shop, 120)
    expected = {
        session: {
            "asked": 1,
            "waited": 1,
            "one": f"tier of {session}",
            "two": f"tier of {session}",
            **({"left": [session]} if number % 2 else {"bought": [session]}),
        }
        for number, session in enumerate(sessions)
    }
    assert states(shop, sessions) == expected
    keys = {(path, body["name"], key) for path, key, _, body, *_ in service.calls if body["name"] in sessions}
    assert len(keys) == 2 * len(sessions)


def test_a_secret_is_nowhere_but_where_it_is_used(shop: Installation) -> None:
    assert shop.sql("select key from definitions where body::text like %s", f"%{CANARY}%") == []
    assert not [message for message in shop.records("config") if CANARY.encode() in (message.value() or b"")]
    for log in shop.folder.glob("*.log"):
        assert CANARY not in log.read_text(), log
