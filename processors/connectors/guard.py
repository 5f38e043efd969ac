"""Keeps requests that definitions cause away from networks that are not the internet, unless the installation opens
them: a name is resolved once, every address is looked at, and only one that was looked at is connected to."""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import httpcore
import httpx

#: An IPv4 address at the end of an IPv6 one, behind these prefixes: NAT64 (RFC 6052), IPv4-compatible (RFC 4291).
_ENDING = (IPv6Network("64:ff9b::/96"), IPv6Network("::/96"))

Address = IPv4Address | IPv6Address


class Refused(OSError):
    """The name stands for an address that is not to be reached from here."""


class Guard:
    """Says which addresses may be reached: those of the internet, and of networks that are named."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        """`networks`: as `10.0.0.0/8`, reached although they are private."""
        self._open = [ip_network(network.strip()) for network in networks]

    def allows(self, address: str) -> bool:
        """Whether the address may be reached, and every IPv4 address that is written into it."""
        return all(
            (one.is_global and not one.is_multicast) or any(one in network for network in self._open)
            for one in _meant(ip_address(address.partition("%")[0]))
        )

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a name, or of an address in whatever spelling. Raises Refused where one is not allowed,
        OSError where there is none."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
        if not addresses or not all(map(self.allows, addresses)):
            raise Refused("an address that may not be reached (HEADWATER_PRIVATE_NETWORKS)")
        return addresses


def _meant(address: Address) -> list[Address]:
    """The address that a packet would reach; of those that hold another one, that one too."""
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:
        return [address.ipv4_mapped]
    if address.teredo is not None:
        return [address, *address.teredo]
    if address.sixtofour is not None:
        return [address, address.sixtofour]
    holds = any(address in network for network in _ENDING)
    return [address, IPv4Address(address.packed[-4:])] if holds else [address]


class _GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to what the guard has resolved. TLS still asks for the name."""

    def __init__(self, guard: Guard) -> None:
        self._guard, self._network = guard, httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            addresses = await self._guard.resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        return await self._first(addresses, port, timeout, local_address, socket_options)

    async def _first(self, addresses: Sequence[str], port: int, *rest: Any) -> httpcore.AsyncNetworkStream:
        *others, last = addresses
        for address in others:
            try:
                return await self._network.connect_tcp(address, port, *rest)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._network.connect_tcp(last, port, *rest)

    async def sleep(self, seconds: float) -> None:
        await self._network.sleep(seconds)


class GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's transport, over connections that the guard has looked at."""

    def __init__(self, guard: Guard, limit: int = 200) -> None:
        """`limit`: connections that are open at the same time."""
        super().__init__(trust_env=False)
        # httpx passes no network backend on (encode/httpx#2111 and others); tests prove that this one is asked.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(trust_env=False),
            max_connections=limit,
            max_keepalive_connections=limit,
            keepalive_expiry=5,
            network_backend=_GuardedNetwork(guard),
        )
