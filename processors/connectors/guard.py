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

#: What Python (some versions of it) takes for the internet, and is not: site-local, local NAT64, IPv4-translated,
#: special IPv4 and IPv6 blocks (RFC 6890 and the IANA registries).
_SPECIAL = tuple(
    map(
        ip_network,
        (
            *("fec0::/10", "64:ff9b:1::/48", "::ffff:0:0:0/96", "5f00::/16", "3fff::/20", "2001::/23", "2001:db8::/32"),
            *("192.0.0.0/24", "192.88.99.0/24", "100.64.0.0/10", "198.18.0.0/15"),
        ),
    )
)
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
            _is_of_the_internet(one) or any(one in network for network in self._open)
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


def told(error: BaseException) -> str:
    """What may be said of an error in connecting: its name, and why where the guard refused. What libraries say could
    quote an address."""
    met: BaseException | None = error
    while met is not None and not isinstance(met, Refused):
        met = met.__cause__ or met.__context__
    return type(error).__name__ if met is None else f"{type(error).__name__}: {met}"


def _is_of_the_internet(address: Address) -> bool:
    return address.is_global and not address.is_multicast and not any(address in network for network in _SPECIAL)


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


def guarded_session(guard: Guard) -> aiohttp.ClientSession:
    """A client that connects to nothing that the guard does not allow: it looks at each address when the socket to it
    is made, however it was spelled or resolved. Follows no proxy of the environment, keeps no cookies, unpacks nothing.

    It opens as many connections as are asked for: whoever asks counts, so that one host leaves room for the others. To
    be called within an event loop, and closed.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=5, socket_factory=guard.socket, use_dns_cache=False),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"accept-encoding": "identity", "user-agent": "headwater"},
        trust_env=False,
    )
