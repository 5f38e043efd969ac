"""Which addresses requests may reach: by every spelling, and by a name that changes its mind."""

import socket
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import aiohttp
import pytest

from processors.connectors.guard import Guard, Refused, guarded_session, told

#: The loopback, private and special networks, as people and attackers write them.
INSIDE = [
    *("127.0.0.1", "127.1", "127.0.1", "0x7f.0.0.1", "0x7f000001", "2130706433", "017700000001", "0177.0.0.1"),
    *("0", "0.0.0.0", "localhost", "::1", "::", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "::ffff:7f00:1", "::127.0.0.1"),
    *("10.0.0.1", "10.1", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.1", "100.64.0.1", "169.254.169.254"),
    *("0xa9fea9fe", "2852039166", "169.254.43518", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "64:ff9b::7f00:1"),
    *("2002:7f00:1::", "2002:a9fe:a9fe::", "fe80::1", "fe80::1%lo", "fc00::1", "fd12:3456::1", "ff02::1", "224.0.0.1"),
    *("239.255.255.250", "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.0.1", "192.0.2.1", "2001:db8::1"),
    *("2001::7f00:1", "100::1"),
]
OUTSIDE = ["93.184.215.14", "8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("spelling", INSIDE)
async def test_no_spelling_reaches_what_is_not_the_internet(spelling: str):
    with pytest.raises(OSError):
        print(await Guard().resolve(spelling, 80))


@pytest.mark.parametrize("address", OUTSIDE)
async def test_addresses_of_the_internet_are_reached(address: str):
    assert Guard().allows(address)


async def test_a_network_that_is_named_is_reached_and_no_other():
    guard = Guard(["127.0.0.0/8", " fd00::/8"])
    assert await guard.resolve("127.1", 80) == ["127.0.0.1"]
    assert await guard.resolve("::ffff:127.0.0.1", 80) == ["::ffff:127.0.0.1"]
    assert guard.allows("fd12::1")
    for other in ("10.0.0.1", "169.254.169.254", "::1"):
        assert not guard.allows(other)


async def test_one_bad_address_among_good_ones_refuses_the_name(monkeypatch: pytest.MonkeyPatch):
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
    with pytest.raises(Refused):
        await Guard().resolve("mixed.example", 80)


@pytest.fixture
def inside() -> Iterator[tuple[int, list[str]]]:
    """A server on this machine: its port, and the hosts that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["host"])
            self.send_response(302 if self.path == "/away" else 200)
            self.send_header("location", "http://127.0.0.1:1/")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.server_port, asked
    server.shutdown()
    server.server_close()
    thread.join()


async def test_the_client_connects_to_nothing_that_the_guard_refuses(inside: tuple[int, list[str]]):
    port, asked = inside
    async with guarded_session(Guard()) as client:
        for host in ("127.0.0.1", "localhost", "[::1]", "0x7f.1", "2130706433", "[::ffff:127.0.0.1]"):
            with pytest.raises(aiohttp.ClientError):
                await client.get(f"http://{host}:{port}/")
    assert asked == []


async def test_a_name_that_answers_differently_each_time_is_asked_once(
    inside: tuple[int, list[str]], monkeypatch: pytest.MonkeyPatch
):
    """What was looked at is what is connected to, and the host that is asked for stays the name."""
    port, asked = inside
    answers = iter(["127.0.0.1", "10.0.0.1", "10.0.0.1"])
    real = socket.getaddrinfo

    def lying(host: Any, *rest: Any, **named: Any) -> Any:
        return real(next(answers) if host == "rebinding.example" else host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", lying)
    async with guarded_session(Guard(["127.0.0.0/8"])) as client:
        async with client.get(f"http://rebinding.example:{port}/") as response:
            assert response.status == 200
        with pytest.raises(aiohttp.ClientConnectorError):
            await client.get(f"http://rebinding.example:{port}/")
    assert asked == [f"rebinding.example:{port}"]


async def test_redirects_are_answers_and_not_followed(inside: tuple[int, list[str]]):
    port, asked = inside
    async with (
        guarded_session(Guard(["127.0.0.0/8"])) as client,
        client.get(f"http://127.0.0.1:{port}/away", allow_redirects=False) as response,
    ):
        assert response.status == 302
    assert len(asked) == 1


async def test_who_is_refused_is_told_why_and_nothing_that_a_library_says(inside: tuple[int, list[str]]):
    port, asked = inside
    async with guarded_session(Guard()) as client:
        with pytest.raises(aiohttp.ClientError) as refused:
            await client.get(f"http://127.0.0.1:{port}/")
    assert "HEADWATER_PRIVATE_NETWORKS" in told(refused.value)
    assert (asked, "127.0.0.1" in told(refused.value)) == ([], False)
    assert told(OSError("cannot reach 10.1.2.3")) == "OSError"
