"""What a context says between its lines: campaign, referrer, language, user agent, place; and addresses made anonymous.

Pure but for who says where an address is. Nothing that is there already is changed but the address.
"""

import re
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from ua_parser import parse

from workflows.clients import MAX_USER_AGENT_CHARS

#: Of a page's query, as the field names campaigns.
_CAMPAIGN = {
    "utm_source": "source",
    "utm_medium": "medium",
    "utm_campaign": "name",
    "utm_term": "term",
    "utm_content": "content",
}
#: A host with more characters than one may have; and what is passed over in a URL.
_LONG_HOST, _PASSED_OVER = re.compile(r"[^/?#]*//[^/?#]{256}"), re.compile(r"[\t\r\n]")

#: Where an address is: names of places by `country`, `region`, `city`, `timezone`.
Locate = Callable[[str], Mapping[str, str]]


def enriched(context: msgspec.Raw, wanted: Collection[str], locate: Locate) -> msgspec.Raw:
    """The context with what a source's `enrich` asks for."""
    found = msgspec.json.decode(context)
    if "geo" in wanted:  # before addresses are made anonymous
        _geo(found, locate)
    for name, add in _KINDS.items():
        if name in wanted:
            add(found)
    return msgspec.Raw(msgspec.json.encode(found))


def _campaign(context: dict[str, Any]) -> None:
    query = parse_qs(_split(_page(context, "url")).query)
    campaign = {name: query[sent][0] for sent, name in _CAMPAIGN.items() if sent in query}
    # What a URL writes as %00 no text of PostgreSQL's may hold.
    campaign = {name: value for name, value in campaign.items() if "\0" not in value}
    if campaign:
        context.setdefault("campaign", campaign)


def _referrer(context: dict[str, Any]) -> None:
    referrer, page = _split(_page(context, "referrer")), _split(_page(context, "url"))
    if referrer.hostname:
        context.setdefault("referrer", {"host": referrer.hostname, "internal": referrer.hostname == page.hostname})


def _language(context: dict[str, Any]) -> None:
    locale = context.get("locale")
    language = locale.replace("_", "-").split("-")[0].lower() if isinstance(locale, str) else ""
    if language.isalpha():
        context.setdefault("language", language)


def _user_agent(context: dict[str, Any]) -> None:
    sent = context.get("userAgent", context.get("user_agent"))
    if isinstance(sent, str) and len(sent) <= MAX_USER_AGENT_CHARS:
        for name, part in _agent(sent).items():
            context.setdefault(name, dict(part))


@lru_cache(10_000)
def _agent(sent: str) -> Mapping[str, Mapping[str, str]]:
    read = parse(sent)
    parts = {
        "browser": read.user_agent and {"name": read.user_agent.family, "version": read.user_agent.major},
        "os": read.os and {"name": read.os.family, "version": read.os.major},
        "device": read.device and {"name": read.device.family, "brand": read.device.brand},
    }
    return {name: {key: value for key, value in part.items() if value} for name, part in parts.items() if part}


def _geo(context: dict[str, Any], locate: Locate) -> None:
    address = context.get("ip")
    if isinstance(address, str) and (place := locate(address)):
        context.setdefault("geo", dict(place))


def _anonymous_ip(context: dict[str, Any]) -> None:
    """The network of a home or an office: the last byte of an IPv4 address goes, of IPv6 the last ten."""
    if "ip" not in context:
        return
    try:
        address = ip_address(context["ip"])
    except ValueError:
        del context["ip"]  # whatever it is, it is not known to be harmless
        return
    network = ip_network(f"{address}/{24 if address.version == 4 else 48}", strict=False)
    context["ip"] = str(network.network_address)


def _page(context: Mapping[str, Any], name: str) -> str:
    page = context.get("page")
    value = page.get(name) if isinstance(page, dict) else None
    return value if isinstance(value, str) else ""


def _split(url: str) -> Any:
    """Nothing where it is no URL, or its host is too long to be one: where it is not ASCII, the time that it takes to
    look at it grows with the square of its characters."""
    try:
        return urlsplit("" if not url.isascii() and _LONG_HOST.match(_PASSED_OVER.sub("", url)) else url)
    except ValueError:
        return urlsplit("")


_KINDS: Mapping[str, Callable[[dict[str, Any]], None]] = {
    "campaign": _campaign,
    "referrer": _referrer,
    "language": _language,
    "user-agent": _user_agent,
    "anonymous-ip": _anonymous_ip,
}
