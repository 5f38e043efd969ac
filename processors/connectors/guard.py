"""Keeps requests that definitions cause away from networks that are not the internet, unless the installation opens
them: a name is resolved once, every address is looked at, and only one that was looked at is connected to."""

import asyncio
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

import aiohttp

#: An IPv4 address at the end of an IPv6 one, behind these prefixes: NAT64 (RFC 6052), IPv4-compatible (RFC 4291).
_ENDING = (IPv6Network("64:ff9b::/96"), IPv6Network("::/96"))

_WHY = "an address that may not be reached (HEADWATER_PRIVATE_NETWORKS)"
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

    def socket(self, place: tuple[Any, ...]) -> socket.socket:
        """A socket for what `getaddrinfo` said. Raises Refused."""
        family, type, protocol, _, address = place
        if not self.allows(str(address[0])):
            raise Refused(_WHY)
        return socket.socket(family, type, protocol)

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a name, or of an address in whatever spelling. Raises Refused where one is not allowed,
        OSError where there is none."""
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(place[0]) for *_, place in found))
        if not addresses or not all(map(self.allows, addresses)):
            raise Refused(_WHY)
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


def guarded_session(guard: Guard, limit: int = 200) -> aiohttp.ClientSession:
    """A client that connects to nothing that the guard does not allow: it looks at each address when the socket to it
    is made, however it was spelled or resolved. Follows no proxy of the environment, keeps no cookies, unpacks nothing.

    `limit`: connections that are open at the same time. To be called within an event loop, and closed.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=limit, limit_per_host=0, keepalive_timeout=5, socket_factory=guard.socket, use_dns_cache=False
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"accept-encoding": "identity", "user-agent": "headwater"},
        trust_env=False,
    )
