"""Many hostile clients at once: those who behave beside them are served, and the door's memory stays what it is."""

import gzip
import json
import resource
import select
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from deploy.embedded.process import usable_port
from tests.e2e.hostile.bodies import GOOD, event
from tests.e2e.hostile.test_requests import CHUNKED, chunked
from tests.kit.installation import Installation
from tests.kit.waiting import until
from tests.kit.wire import Wire, code_of, request

MAX_RSS = 250_000_000
#: With all its room taken: 32 MB some times over, and 64 MB on their way to Kafka.
FULL_RSS = 500_000_000


@pytest.fixture(scope="module", autouse=True)
def many_files() -> Iterator[None]:
    """Thousands of connections, at this end too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard < 20_000 else max(soft, min(hard, 20_000)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def process(door: Installation) -> psutil.Process:
    return psutil.Process(door.children["ingest"].pid)


def serves_others(door: Installation, times: int = 25) -> None:
    """Each on a connection of its own, as new visitors come."""
    for _ in range(times):
        with closing(Wire(door.url)) as wire:
            assert wire.ask(request(GOOD)).status == 200


HEAD = b"POST /track HTTP/1.1\r\nhost: door\r\n"
#: What each sends before it stops, and how many of them there are.
HELD = {
    "nothing": (b"", 2_000),
    "half a head": (HEAD, 2_000),
    "a head of 90 kB": (HEAD + b"".join(b"x-%d: " % one + b"a" * 6_000 + b"\r\n" for one in range(15)), 500),
    "a small body": (request(b"{", b"content-length: 1000", sized=False), 1_900),
    "a body of 900 kB": (request(b"{" + b" " * 900_000, b"content-length: 900010", sized=False), 150),
    "chunks of 900 kB": (request(b"dbba0\r\n" + b" " * 900_000 + b"\r\n", CHUNKED, sized=False), 150),
    "a batch of 4 MB in chunks": (
        request(b"3d0900\r\n" + b" " * 4_000_000 + b"\r\n", CHUNKED, sized=False, path=b"/v1/batch"),
        50,
    ),
}


@pytest.mark.parametrize("case", HELD)
def test_whoever_sends_half_and_waits_takes_no_place_of_others(
    door: Installation, process: psutil.Process, case: str
) -> None:
    sent, number = HELD[case]
    with ExitStack() as held:
        for _ in range(number):
            held.enter_context(closing(Wire(door.url))).send(sent)
        serves_others(door)
        assert process.memory_info().rss < MAX_RSS


def test_bombs_do_not_fill_the_memory(door: Installation, process: psutil.Process) -> None:
    bomb = request(gzip.compress(bytes(64_000_000)), b"content-encoding: gzip")

    def throw(_: int) -> tuple[int, str]:
        with closing(Wire(door.url)) as wire:
            answer = wire.ask(bomb)
            return answer.status, code_of(answer)

    with ThreadPoolExecutor(16) as threads:
        thrown = threads.map(throw, range(60))
        serves_others(door)
        assert set(thrown) == {(413, "body_too_large")}
    assert process.memory_info().rss < MAX_RSS


def test_a_million_chunks_of_a_byte_cost_next_to_nothing(door: Installation, process: psutil.Process) -> None:
    """As CVE-2005-69229 of aiohttp: a few megabytes keep a core busy for long."""
    before = sum(process.cpu_times()[:2])
    with closing(Wire(door.url, 60)) as wire:
        wire.send(chunked(b"1\r\n \r\n" * 999_000 + b"0\r\n\r\n"))
        serves_others(door, 5)
        answer = wire.answer()
    assert answer is None or answer.status in (400, 408, 413)
    assert sum(process.cpu_times()[:2]) - before < 5


def test_heads_without_end_are_cut_off(door: Installation, process: psutil.Process) -> None:
    def pour(_: int) -> int:
        with closing(Wire(door.url)) as wire:
            answer = wire.ask(HEAD + b"".join(b"x-%d: %s\r\n" % (one, b"a" * 100) for one in range(20_000)))
            return answer.status

    with ThreadPoolExecutor(16) as threads:
        poured = threads.map(pour, range(100))
        serves_others(door)
        assert set(poured) <= {400, 431}
    assert process.memory_info().rss < MAX_RSS


def answered(wires: list[Wire]) -> list[Wire]:
    """Those on which there is something to read."""
    return select.select(wires, [], [], 0)[0]


def test_a_full_door_says_so_after_a_moment_and_needs_no_database(door: Installation) -> None:
    """Classes 39 and 88; without a Kafka: test_outages."""
    port = usable_port(0)
    url = f"http://127.0.0.1:{port}"
    door.start(
        "ingest",
        name="small-door",
        HEADWATER_HTTP_PORT=str(port),
        HEADWATER_MAX_IN_FLIGHT="3",
        HEADWATER_DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing",
    )
    with httpx.Client(base_url=url, trust_env=False) as client:

        def ready() -> bool:
            try:
                return client.get("/ready").status_code == 200
            except httpx.TransportError:
                return False

        until(ready, 30, door.tell)
        assert client.post("/track", json={"source": {"id": "nobody"}, "events": [event()]}).status_code == 401
        with ExitStack() as held:
            many = [held.enter_context(closing(Wire(url))) for _ in range(30)]
            door.services.kafka.pause()
            try:
                for wire in many:
                    wire.send(request(GOOD))
                # Three wait for Kafka, which does not answer; the others for them, a moment.
                until(lambda: len(answered(many)) == 27, 6, door.tell)
                early = answered(many)
            finally:
                door.services.kafka.resume()
            refused, accepted = [one.answer() for one in early], [one.answer() for one in many if one not in early]
        assert {(answer.status, code_of(answer)) for answer in refused} == {(503, "overloaded")}
        assert all(1 <= int(answer.headers["retry-after"]) <= 12 for answer in refused)
        assert [answer.status for answer in accepted] == [200] * 3
        assert client.get("/health").status_code == 200
        assert client.post("/track", json={"source": {"id": "shop"}, "events": [event()]}).status_code == 200
    door.kill("small-door")


#: A batch of 4.8 MB, in some thousand bytes.
GROWING = gzip.compress(
    json.dumps(
        {
            "writeKey": "shop",
            "batch": [
                {"type": "track", "event": "a", "anonymousId": "d", "properties": {"p": "x" * 9_900}}
                for _ in range(480)
            ],
        }
    ).encode(),
    9,
)


def test_bodies_that_grow_when_they_are_inflated_do_not_fill_the_memory(
    door: Installation, process: psutil.Process
) -> None:
    growing = request(GROWING, b"content-encoding: gzip", path=b"/v1/batch")

    def post(_: int) -> tuple[int, str]:
        with closing(Wire(door.url, 60)) as wire:
            answer = wire.ask(growing)
            assert answer.status == 200 or answer.headers["retry-after"] == "1"
            return answer.status, code_of(answer)

    peak = 0
    with ThreadPoolExecutor(100) as threads:
        posts = [threads.submit(post, one) for one in range(300)]
        while not all(one.done() for one in posts):
            serves_others(door, 1)
            peak = max(peak, process.memory_info().rss)
        assert {one.result() for one in posts} == {(200, ""), (503, "overloaded")}
    assert peak < FULL_RSS
