"""Receivers that fail in every way: errors, slowness, silence, resets, refusals of one, "later", and not being there.

All at once, each beside a receiver that is well: nothing is lost, nothing overtakes, and who is well has everything
before the others are mended.
"""

import json
import socket
import struct
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pytest

from processors.connectors.webhook import PARALLEL
from tests.conftest import MakeInstallation
from tests.kit.definitions import payload
from tests.kit.installation import Installation
from tests.kit.serving import Handler, Server
from tests.kit.waiting import until

pytestmark = pytest.mark.timeout(240)

STAGES = ("validate", "identify", "persist", "route", "run-workflows", "merge", "segment", "deliver", "record-failures")
FAILING = ("broken", "slow", "silent", "resetting", "busy")
PEOPLE = [f"person-{number}" for number in range(30)]
LATER_S, SLOW_S = 2, 0.2


class Call:
    """One request."""

    def __init__(self, path: str, key: str, body: dict[str, Any]) -> None:
        self.path, self.key, self.at = path, key, time.monotonic()
        self.profile, self.version, self.taken = body["profile"], body["version"], False


class Receiver:
    """Behaves as its paths are called, until they are mended."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.mended = threading.Event()
        self.disliked = ""
        self.slow_now = self.slow_most = 0
        self._lock = threading.Lock()
        receiver = self

        class Answering(Handler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                receiver.answer(self, Call(self.path.strip("/"), self.headers["idempotency-key"], body))

        self._server = Server(Answering)
        self.url = self._server.url

    def answer(self, request: Handler, call: Call) -> None:
        with self._lock:
            self.calls.append(call)
        well, status = self.mended.is_set(), 200
        if not well and call.path == "resetting":
            request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.connection.close()
            return
        if not well and call.path == "silent":
            self.mended.wait(60)
            return  # whoever asked has gone: nothing was taken
        if not well and call.path in ("broken", "busy"):
            status = {"broken": 500, "busy": 429}[call.path]
        if not well and call.path == "slow":
            self._take_time()
        if call.path == "picky" and call.profile == self.disliked:
            status = 400
        call.taken = status == 200
        request.send_response(status)
        if status == 429:
            request.send_header("retry-after", str(LATER_S))
        request.send_header("content-length", "0")
        request.end_headers()

    def _take_time(self) -> None:
        """Over before the answer: whoever has one may ask again at once."""
        with self._lock:
            self.slow_now += 1
            self.slow_most = max(self.slow_most, self.slow_now)
        time.sleep(SLOW_S)
        with self._lock:
            self.slow_now -= 1

    def of(self, path: str) -> list[Call]:
        return [call for call in list(self.calls) if call.path == path]

    def close(self) -> None:
        self.mended.set()
        self._server.close()


def timeout_s(name: str) -> int:
    """Who is slow here is slower still on a loaded machine, and is meant to be waited for."""
    return 1 if name == "silent" else 10


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    started = Receiver()
    yield started
    started.close()


@pytest.fixture(scope="module")
def nowhere() -> Iterator[int]:
    """A port that is taken, and at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture(scope="module")
def shop(make_shared_installation: MakeInstallation, receiver: Receiver, nowhere: int) -> Installation:
    hooks = [
        f"{{kind: destination, id: {name}, type: webhook, url: {receiver.url}/{name}, timeout_s: {timeout_s(name)}}}"
        for name in (*FAILING, "picky", "well")
    ]
    away = f"{{kind: destination, id: away, type: webhook, url: 'http://127.0.0.1:{nowhere}/', give_up_after_s: 1}}"
    visits = '{kind: mapping, id: visits, event_type: visit, increment: {visits: "1"}}'
    installation = make_shared_installation(
        "\n---\n".join(["{kind: source, id: shop}", visits, *hooks, away]), forked=True
    )
    installation.start(*STAGES, *(f"dispatch-{name}" for name in (*FAILING, "picky", "away", "well")))
    return installation


def visit(shop: Installation, person: str) -> None:
    sent = payload("shop", {"type": "visit", "properties": {}}, session=person)
    shop.write(json.dumps(sent).encode(), key=person.encode())


def profile_of(shop: Installation, person: str) -> str:
    return str(shop.one("select profile_id::text from sessions where id = %s", person))


def owed(shop: Installation, name: str) -> dict[str, list[int]]:
    """Profile to the versions that the destination is to hear of, in order."""
    found: dict[str, list[int]] = defaultdict(list)
    for body in shop.bodies(f"destination-{name}"):
        found[body["profile"]].append(body["version"])
    return found


def taken(receiver: Receiver, name: str) -> dict[str, list[int]]:
    """Profile to the versions that were taken, each once, in the order of the first time."""
    found: dict[str, list[int]] = defaultdict(list)
    for call in receiver.of(name):
        if call.taken and call.version not in found[call.profile]:
            found[call.profile].append(call.version)
    return found


def span_of(calls: list[Call]) -> float:
    """Seconds from the first to the last."""
    return calls[-1].at - calls[0].at if calls else 0.0


def test_whoever_is_well_has_everything_while_all_others_fail_and_then_they_get_everything_too(
    shop: Installation, receiver: Receiver, nowhere: int
) -> None:
    for person in PEOPLE:
        visit(shop, person)
    shop.wait_through(stages=(*STAGES, "dispatch-well"))
    receiver.disliked = profile_of(shop, PEOPLE[7])
    for _ in range(2):
        for person in PEOPLE:
            visit(shop, person)
    shop.wait_through(stages=(*STAGES, "dispatch-well"))

    # Beside five that fail, one that refuses and one that is not there.
    assert taken(receiver, "well") == owed(shop, "well")
    for name in ("broken", "silent", "resetting", "busy"):
        until(lambda name=name: len(receiver.of(name)) >= 3, 60, shop.tell)  # type: ignore[misc]
        assert taken(receiver, name) == {}

    # "Later" is believed: after those who had asked already, until then nobody asks.
    until(lambda: span_of(receiver.of("busy")) >= 4 * LATER_S, 60, shop.tell)
    busy = receiver.of("busy")
    assert PARALLEL + span_of(busy) / LATER_S >= len(busy) > 1
    # Who is slow is not asked more and more at a time.
    assert 1 < receiver.slow_most <= PARALLEL

    receiver.mended.set()
    shop.wait_through(120, stages=[*(f"dispatch-{name}" for name in (*FAILING, "picky", "away")), "record-failures"])
    for name in FAILING:
        assert taken(receiver, name) == owed(shop, name)
        keys = {(call.profile, call.version): call.key for call in receiver.of(name)}
        assert all(keys[call.profile, call.version] == call.key for call in receiver.of(name))


def test_one_profile_that_is_refused_is_a_dead_letter_and_holds_up_nobody(
    shop: Installation, receiver: Receiver
) -> None:
    refused = {call.version for call in receiver.of("picky") if not call.taken}
    found = shop.sql("select content from failures where stage = 'dispatch-picky'")
    letters = [json.loads(bytes(content)) for (content,) in found]
    assert {(letter["profile"], letter["version"]) for letter in letters} == {
        (receiver.disliked, version) for version in refused
    }
    assert refused
    wanted, had = owed(shop, "picky"), taken(receiver, "picky")
    wanted[receiver.disliked] = [version for version in wanted[receiver.disliked] if version not in refused]
    assert {profile: versions for profile, versions in wanted.items() if versions} == had


def test_what_was_given_up_is_sent_when_the_receiver_is_there_again(
    shop: Installation, receiver: Receiver, nowhere: int
) -> None:
    found = shop.sql("select content from failures where stage = 'dispatch-away'")
    letters = {(one["profile"], one["version"]) for one in (json.loads(bytes(content)) for (content,) in found)}
    assert letters == {(profile, one) for profile, versions in owed(shop, "away").items() for one in versions}
    shop.apply(f"{{kind: destination, id: away, type: webhook, url: {receiver.url}/away, give_up_after_s: 60}}")
    assert shop.command("dead-letters", "replay", "--stage", "dispatch-away").returncode == 0
    until(
        lambda: letters == {(call.profile, call.version) for call in receiver.of("away") if call.taken}, 60, shop.tell
    )
