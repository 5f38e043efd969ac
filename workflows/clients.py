"""Whose request a payload came by: what the door notes of it, and what that adds to the payload's context. Pure."""

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import msgspec

#: Longer ones are nobody's.
MAX_USER_AGENT_CHARS = 1000
#: The door's are shorter: an address, and a user agent of which each character may be escaped.
MAX_HEADER_BYTES = 6 * MAX_USER_AGENT_CHARS + 100


class Client(msgspec.Struct, omit_defaults=True, rename="camel"):
    """In a header of the record, as JSON: what the context lacks. Anybody may write such a header."""

    ip: str | None = None
    user_agent: str | None = None


#: Who comes from IPv4 to who has IPv6 only (RFC 6052).
_NAT64 = ip_network("64:ff9b::/96")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Client).decode
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def address_of(peer: str, forwarded: str, proxies: int) -> str:
    """Whose request from `peer` it is. Behind so many proxies of one's own the address is the one that the outermost of
    them saw: the last ones in `forwarded` (X-Forwarded-For) are theirs, whatever the client wrote before."""
    if not proxies:
        return peer
    seen = [one.strip() for one in forwarded.split(",")] if forwarded else []
    return _without_port(seen[-proxies]) if len(seen) >= proxies else ""


def _without_port(seen: str) -> str:
    """Some proxies write one behind the address, another for each connection."""
    if seen.startswith("["):
        return seen[1:].partition("]")[0]
    return seen.partition(":")[0] if seen.count(":") == 1 else seen


def sender_of(address: str) -> str:
    """Who sends from it, as far as rates count: of IPv6 all of a /64, which the least of networks has and may change
    its addresses in (RFC 6177)."""
    try:
        whole = ip_address(address)
    except ValueError:
        return address
    if not isinstance(whole, IPv6Address):
        return address
    if whole in _NAT64:
        return str(IPv4Address(int(whole) & 0xFFFFFFFF))
    return str(whole.ipv4_mapped or f"{IPv6Address(int(whole) >> 64 << 64)}/64")


def noted(address: str, user_agent: str | None) -> bytes:
    """The header for a request from `address`."""
    return _encode(_checked(Client(address, user_agent)))


def with_client(context: msgspec.Raw, header: bytes) -> msgspec.Raw:
    """The context with what the header says, where it does not say so itself."""
    if len(header) > MAX_HEADER_BYTES:
        return context
    try:
        client = _checked(_decode(header))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return context
    own = _object(context)
    if "user_agent" in own:
        client.user_agent = None
    return msgspec.Raw(_encode(_object(_encode(client)) | own))


def _checked(client: Client) -> Client:
    """Only what is an address, and a user agent that can be stored."""
    agent = client.user_agent
    fits = agent is not None and len(agent) <= MAX_USER_AGENT_CHARS and "\0" not in agent
    return Client(_address(client.ip or ""), agent if fits else None)


def _address(text: str) -> str | None:
    try:
        return None if "%" in text else str(ip_address(text))  # a zone behind it may be anything
    except ValueError:
        return None
