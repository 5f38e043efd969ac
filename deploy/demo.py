"""`headwater demo`: real purchases of real customers through the whole pipeline, and what became of them.

Each row of the CDNOW data is a session of its own: an anonymous page-view, then an order with the customer's number.
What must come out is computed from the file, in plain Python; what did come out is read from PostgreSQL and Kafka.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import click
import msgspec
import psycopg

from deploy.kafka import kafka_admin
from deploy.records import read_all
from deploy.settings import Settings
from schemas.topics import PROFILE_CHANGES

#: Sessions in one payload would be wrong: a payload is one session. So one payload a purchase, many in parallel.
PARALLEL = 200
FREQUENT = 10
WITHIN_S = 900.0


class DemoError(RuntimeError):
    """The demo could not be carried out; the message says why."""


@dataclass(frozen=True)
class Purchase:
    """One row of the data."""

    row: int
    customer: str
    date: str
    discs: int
    dollars: Decimal


@dataclass
class Result:
    """The demo's totals, expected or found."""

    orders: int = 0
    page_views: int = 0
    profiles: int = 0
    discs: int = 0
    revenue: Decimal = Decimal(0)
    frequent_customers: int = 0
    page_views_without_owner: int = 0


def read_purchases(path: Path) -> list[Purchase]:
    """The rows of the file. Raises DemoError where it is not there."""
    if not path.exists():
        raise DemoError(f"{path} is missing: the demo runs from a clone of the repository")
    rows = (line.split() for line in path.read_text(encoding="utf-8").splitlines()[1:] if line.strip())
    return [
        Purchase(number, customer, date, int(discs), Decimal(dollars))
        for number, (customer, date, discs, dollars) in enumerate(rows, 1)
    ]


def expected(purchases: Sequence[Purchase]) -> Result:
    """What must come out."""
    orders: dict[str, int] = {}
    for purchase in purchases:
        orders[purchase.customer] = orders.get(purchase.customer, 0) + 1
    return Result(
        orders=len(purchases),
        page_views=len(purchases),
        profiles=len(orders),
        discs=sum(purchase.discs for purchase in purchases),
        revenue=sum((purchase.dollars for purchase in purchases), Decimal(0)),
        frequent_customers=sum(count > FREQUENT for count in orders.values()),
    )


def payload(purchase: Purchase) -> dict[str, Any]:
    """The session of one purchase."""
    day = f"{purchase.date[:4]}-{purchase.date[4:6]}-{purchase.date[6:]}"
    return {
        "source": {"id": "shop"},
        "session": {"id": f"session-{purchase.row}"},
        "context": {"page": {"url": "https://shop.example/discs"}},
        "events": [
            {
                "id": f"view-{purchase.row}",
                "type": "Page View",
                "timestamp": f"{day}T12:00:00Z",
                "properties": {"page_title": "Discs"},
            },
            {
                "id": f"order-{purchase.row}",
                "type": "Order Completed",
                "timestamp": f"{day}T12:05:00Z",
                "properties": {
                    "order": {"discs": purchase.discs, "total": float(purchase.dollars)},
                    "customer": {"id": purchase.customer},
                },
            },
        ],
    }


async def send(url: str, purchases: Sequence[Purchase], progress: Callable[[], None]) -> None:
    """Every purchase through the door, until each is acknowledged. What is refused with 503 is sent again."""
    waiting = iter(purchases)
    async with aiohttp.ClientSession(
        base_url=url, connector=aiohttp.TCPConnector(limit=PARALLEL), timeout=aiohttp.ClientTimeout(total=30)
    ) as client:
        await asyncio.gather(*(_send_each(client, waiting, progress) for _ in range(PARALLEL)))


async def _send_each(client: aiohttp.ClientSession, waiting: Iterator[Purchase], progress: Callable[[], None]) -> None:
    for purchase in waiting:
        body = msgspec.json.encode(payload(purchase))
        while True:
            rest_s = await _refused(client, body)
            if rest_s is None:
                break
            await asyncio.sleep(rest_s)
        progress()


async def _refused(client: aiohttp.ClientSession, body: bytes) -> float | None:
    """After how many seconds it is to be sent again; None where it was taken. Raises DemoError."""
    headers = {"content-type": "application/json"}
    try:
        async with client.post("/track", data=body, headers=headers, allow_redirects=False) as answer:
            text = await answer.text()
    except (aiohttp.ClientError, TimeoutError):
        return 0.5
    if answer.status == 503:
        return float(answer.headers.get("retry-after", "1"))
    if answer.status != 200:
        raise DemoError(f"the door answered {answer.status}: {text[:200]}")
    return None


async def wait_until_done(settings: Settings, wanted: Result, progress: Callable[[int, int], None]) -> None:
    """Return when PostgreSQL has all orders and nothing waits anywhere. Raises DemoError after a quarter of an hour."""
    from deploy.operations.lag import total_lag

    deadline = time.monotonic() + WITHIN_S
    admin = kafka_admin(settings)
    async with await psycopg.AsyncConnection.connect(settings.database_url, autocommit=True) as connection:
        while time.monotonic() < deadline:
            cursor = await connection.execute("select coalesce(sum(recorded), 0)::bigint from recorded_counts")
            (recorded,) = await cursor.fetchone() or (0,)
            lag = await total_lag(connection, admin)
            progress(recorded, lag)
            if lag == 0 and recorded >= wanted.orders + wanted.page_views:
                return
            await asyncio.sleep(1)
    raise DemoError("the events are not through after a quarter of an hour; see `headwater status`")


async def found(settings: Settings) -> Result:
    """What came out, read from PostgreSQL; the frequent customers from the outbound topic, as a consumer sees them."""
    async with await psycopg.AsyncConnection.connect(settings.database_url, autocommit=True) as connection:
        cursor = await connection.execute(_TOTALS)
        orders, views, ownerless = await cursor.fetchone() or (0, 0, 0)
        cursor = await connection.execute(
            "select count(*), coalesce(sum((totals->>'discs')::numeric), 0), "
            "coalesce(sum((totals->>'revenue')::numeric), 0) from profile_traits"
        )
        _, discs, revenue = await cursor.fetchone() or (0, 0, 0)
        cursor = await connection.execute("select count(*) from profiles where merged_into is null")
        (profiles,) = await cursor.fetchone() or (0,)
    frequent = await asyncio.to_thread(_frequent_customers, settings)
    return Result(orders, views, profiles, int(discs), Decimal(revenue), frequent, ownerless)


_TOTALS = """
with customers as (
    select distinct coalesce(p.merged_into, p.id) as id from identifiers i join profiles p on p.id = i.profile_id
    where i.namespace = 'customer-id')
select count(*) filter (where e.type = 'order-completed'),
       count(*) filter (where e.type = 'page-view'),
       count(*) filter (where e.type = 'page-view' and c.id is null)
from events e
left join profiles p on p.id = e.profile_id
left join customers c on c.id = coalesce(p.merged_into, p.id)
"""


def _frequent_customers(settings: Settings) -> int:
    """Follow `profile-changes` as a consumer would: the highest version of each profile counts."""
    latest: dict[str, tuple[int, bool]] = {}
    for message in read_all(kafka_admin(settings), PROFILE_CHANGES.name):
        change = msgspec.json.decode(message)
        member = "frequent-customer" in change.get("segments", ()) and not change.get("merged_into")
        if change["version"] >= latest.get(change["profile"], (0, False))[0]:
            latest[change["profile"]] = (change["version"], member)
    return sum(member for _, member in latest.values())


def report(wanted: Result, got: Result, seconds: float, as_json: bool) -> bool:
    """Print the outcome; whether everything that was found is what was expected."""
    right = wanted == got
    events = got.orders + got.page_views
    if as_json:
        line = {**vars(got), "revenue": float(got.revenue)}
        click.echo(json.dumps({**line, "seconds": round(seconds, 1), "events_per_second": round(events / seconds)}))
        return right
    click.echo(f"\n{'':28}{'found':>14}{'in the input':>16}")
    for name, value in vars(got).items():
        mark = "" if value == getattr(wanted, name) else "   <- differs"
        click.echo(f"{name.replace('_', ' '):28}{value:>14,}{getattr(wanted, name):>16,}{mark}")
    click.echo(f"\n{events:,} events in {seconds:.0f} s: {events / seconds:,.0f} events/s, door to outbound topic")
    return right


def try_next(settings: Settings, page: str) -> str:
    """The lines to try after the demo."""
    url = settings.door_url
    return f"""
It keeps running. A page of the shop, to click on in a browser: {page}
In another terminal try:
  headwater status --watch
  headwater profile customer-id:00004
  headwater event order-1
  headwater tail profile-changes
  curl {url}/track -H 'content-type: application/json' -d '{{"source": {{"id": "shop"}},
    "session": {{"id": "mine"}}, "events": [{{"type": "Page View", "properties": {{"page_title": "Home"}}}}]}}'
Ctrl-C stops all of it."""
