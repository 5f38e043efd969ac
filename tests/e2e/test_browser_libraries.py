"""Libraries for browsers, as they come from their registry, in a real one: only the address and the key are ours."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.conftest import MakeInstallation
from tests.kit import chromium
from tests.kit.between import Between
from tests.kit.door import answered, new_key
from tests.kit.installation import Installation
from tests.kit.node import CLIENTS, packages
from tests.kit.recorded import Event, differences, events, identifiers, owner, traits
from tests.kit.serving import Handler, Server
from tests.kit.waiting import until

LIBRARIES = ("segment", "rudder")
STAGES = ("validate", "identify", "persist", "route", "run-workflows", "merge", "record-failures")
ORDER = {"total": 3.5, "items": [{"sku": "a"}]}
SAID_AT = "2026-01-02T03:04:05.000Z"
#: So far is the clock of one of the browsers behind.
SLOW = timedelta(hours=3)

pytestmark = [pytest.mark.kafka, pytest.mark.postgres, pytest.mark.timeout(600)]


class Site:
    """The pages of tests/clients, and the libraries that they name, on an origin of their own."""

    def __init__(self) -> None:
        files = {
            "/segment.js": "@segment/analytics-next/dist/umd/index.js",
            "/rudder.js": "@rudderstack/analytics-js/dist/npm/modern/bundled/umd/index.js",
        }
        paths: Mapping[str, Path] = {
            **{f"/{library}": CLIENTS / f"{library}.html" for library in LIBRARIES},
            **{path: packages() / file for path, file in files.items()},
        }

        class Pages(Handler):
            def do_GET(self) -> None:
                file = paths.get(self.path.partition("?")[0])
                body = file.read_bytes() if file else b"nothing"
                self.send_response(200 if file else 404)
                self.send_header("content-type", "text/html" if file and file.suffix == ".html" else "text/javascript")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = Server(Pages)
        self.origin = self._server.url

    def close(self) -> None:
        self._server.close()


class Shop:
    """An installation that takes events from pages of one site; a source of its own takes those of another."""

    def __init__(self, installation: Installation, site: Site, other: Site) -> None:
        self.installation, self.site, self.other = installation, site, other
        self.keys = {source: new_key(installation, source)[0] for source in (*LIBRARIES, "leaving")}

    def visit(self, context: BrowserContext, library: str, at: datetime | None = None, **settings: str) -> Page:
        """A page with a library that has begun, by the browser's clock at some other time."""
        page = context.new_page()
        if at is not None:
            page.clock.set_system_time(at)
        page.goto(self.address(library, **settings))
        assert device(page)
        return page

    def address(self, library: str, origin: str = "", **settings: str) -> str:
        """Of a page that has a library with these settings."""
        settings = {"url": self.installation.url, "key": self.keys[library], **settings}
        return f"{origin or self.site.origin}/{library}?utm_source=mail&utm_campaign=spring#{urlencode(settings)}"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with closing(Site()) as made:
        yield made


@pytest.fixture(scope="module")
def other_site() -> Iterator[Site]:
    with closing(Site()) as made:
        yield made


@pytest.fixture(scope="module")
def shop(make_shared_installation: MakeInstallation, site: Site, other_site: Site) -> Shop:
    ours = [
        f"{{kind: source, id: {source}, requires_key: true, origins: ['{site.origin}']}}"
        for source in (*LIBRARIES, "leaving")
    ]
    others = f"{{kind: source, id: other, origins: ['{other_site.origin}']}}"
    definitions = "\n---\n".join([*ours, others, "{kind: predefined, id: clients}"])
    installation = make_shared_installation(definitions, forked=True)
    installation.start(*STAGES)
    installation.start_door()
    return Shop(installation, site, other_site)


@pytest.fixture(scope="module")
def browser(shop: Shop) -> Iterator[Browser]:
    """After the shop: no other event loop can run on this thread while Playwright does."""
    with chromium.running() as found:
        yield found


def call(page: Page, name: str, *given: Any) -> str:
    """Let the library of a page do something; the id of its message."""
    return str(page.evaluate("([name, ...given]) => call(name, ...given)", [name, *given]))


def device(page: Page) -> str:
    """What the library of a page calls its browser."""
    return str(page.evaluate("device()"))


class Visits(NamedTuple):
    """What was done on a phone and on a laptop whose clock is slow, by one person and, in between, by others."""

    started: datetime
    ended: datetime
    user: str
    #: How the library calls the phone before somebody signed off there, and since then.
    before: str
    phone: str
    #: The same of the laptop.
    laptop: str
    stranger: str
    ids: list[str]
    #: All that the browsers asked for, anywhere.
    requests: list[str]


@pytest.fixture
def context(browser: Browser) -> Iterator[BrowserContext]:
    """A browser that has never been anywhere."""
    with closing(browser.new_context()) as made:
        yield made


@pytest.fixture(scope="module", params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def visits(shop: Shop, browser: Browser, library: str) -> Visits:
    with closing(browser.new_context()) as phone, closing(browser.new_context()) as laptop:
        made = visit_all(shop, phone, laptop, library)
        query = "select count(*) from events where source = %s and id = any(%s)"
        until(lambda: shop.installation.one(query, library, made.ids) == len(made.ids), 30, shop.installation.tell)
    shop.installation.wait_through()
    return made._replace(ended=datetime.now(UTC))


def visit_all(shop: Shop, on_phone: BrowserContext, on_laptop: BrowserContext, library: str) -> Visits:
    started = datetime.now(UTC)
    user = f"{library}-user"
    said = {"timestamp": SAID_AT} if library == "segment" else {"originalTimestamp": SAID_AT}
    requests: list[str] = []
    for context in (on_phone, on_laptop):
        context.on("request", lambda request: requests.append(request.url))

    page = shop.visit(on_phone, library)
    before = device(page)
    ids = [call(page, "track", "Product Viewed", {}, {})]
    page.evaluate("signOff()")
    phone = device(page)
    ids += [
        call(page, "track", "Order Completed", ORDER, said),
        call(page, "identify", user, {"email": f"{user}@example.com", "firstName": "Jane"}, {}),
        call(page, "page", "Docs", "Start", {"extra": 1}, {}),
        call(page, "group", f"{library}-group", {"name": "ACME"}, {}),
        call(page, "alias", user, before, {}),
        call(page, "track", "Signed Up!", {"plan": "pro"}, {}),
    ]
    if library == "segment":
        ids.append(call(page, "screen", "Settings", "Main", {"dark": True}, {}))

    page = shop.visit(on_laptop, library, at=started - SLOW)
    assert datetime.fromtimestamp(page.evaluate("Date.now()") / 1000, UTC) < started - SLOW / 2
    laptop = device(page)
    ids += [
        call(page, "track", "Cart Viewed", {}, {}),
        call(page, "identify", user, {"city": "Ghent"}, {}),
    ]
    page.evaluate("signOff()")
    stranger = device(page)
    ids.append(call(page, "track", "Page Left", {}, {}))
    return Visits(started, datetime.now(UTC), user, before, phone, laptop, stranger, ids, requests)


def test_every_call_arrives_as_its_event_and_nothing_else_does(shop: Shop, visits: Visits, library: str) -> None:
    user = visits.user
    path = f"/{library}"
    campaign = {"campaign": {"source": "mail", "name": "spring"}}

    def seen(type: str, device: str, properties: dict[str, Any], **context: Any) -> Event:
        return Event(type, device, properties, {"anonymous_id": device, **campaign, **context})

    found = events(shop.installation, library)
    for event in found:
        assert event.context["page"]["path"] == path
        assert "Chrome" in event.context["userAgent"]
    (page,) = (event for event in found if event.type == "page-view")
    assert (page.properties["path"], page.properties["title"], page.properties["extra"]) == (path, "Shop", 1)
    assert page.properties["url"].startswith(f"{shop.site.origin}{path}?utm_source=mail")
    expected = [
        seen("product-viewed", visits.before, {}),
        seen("order-completed", visits.phone, ORDER),
        seen("identify", visits.phone, {"email": f"{user}@example.com", "firstName": "Jane"}, user_id=user),
        seen("page-view", visits.phone, {**page.properties, "name": "Start", "category": "Docs"}, user_id=user),
        seen("group", visits.phone, {"group_id": f"{library}-group", "traits": {"name": "ACME"}}, user_id=user),
        seen("alias", visits.phone, {"previous_id": visits.before}, user_id=user),
        seen("signed-up", visits.phone, {"plan": "pro"}, user_id=user, event_name="Signed Up!"),
        seen("cart-viewed", visits.laptop, {}),
        seen("identify", visits.laptop, {"city": "Ghent"}, user_id=user),
        seen("page-left", visits.stranger, {}),
    ]
    if library == "segment":
        screen = {"name": "Main", "category": "Settings", "dark": True}
        expected.append(seen("screen-view", visits.phone, screen, user_id=user))
    assert differences(found, expected) == ([], [])
    assert shop.installation.sql("select * from failures where source = %s", library) == []


def test_events_have_the_ids_that_the_library_gave_them(shop: Shop, visits: Visits, library: str) -> None:
    recorded = shop.installation.sql("select id from events where source = %s", library)
    assert sorted(recorded) == sorted((id,) for id in visits.ids)


def test_events_have_the_times_at_which_they_happened_by_our_clock(shop: Shop, visits: Visits, library: str) -> None:
    query = "select type, occurred_at, received_at from events where source = %s"
    for type, occurred_at, received_at in shop.installation.sql(query, library):
        assert visits.started < received_at < visits.ended, type
        if type == "order-completed":
            said_at = datetime.fromisoformat(SAID_AT)
            assert timedelta() <= occurred_at - said_at < visits.ended - visits.started
        else:
            # Also of the browser whose clock is slow.
            assert visits.started < occurred_at <= received_at, type


def test_all_browsers_of_somebody_are_on_one_profile_and_a_strangers_is_not(
    shop: Shop, visits: Visits, library: str
) -> None:
    devices = (visits.phone, visits.laptop, visits.before)
    (profile,) = {owner(shop.installation, library, device) for device in devices}
    assert owner(shop.installation, library, visits.stranger) != profile
    known = {("user-id", visits.user), *(("anonymous-id", device) for device in devices)}
    assert known <= identifiers(shop.installation, profile)
    assert traits(shop.installation, profile) == {
        "email": f"{visits.user}@example.com",
        "first_name": "Jane",
        "city": "Ghent",
        "groups": [f"{library}-group"],
    }


def test_the_library_asks_nobody_else_for_anything(shop: Shop, visits: Visits) -> None:
    ours = (f"{shop.installation.url}/", f"{shop.site.origin}/")
    assert visits.requests
    assert [url for url in visits.requests if not url.startswith(ours)] == []


def test_what_is_tracked_as_the_page_goes_away_arrives_by_beacon(shop: Shop, context: BrowserContext) -> None:
    with closing(Between(shop.installation.url)) as between:
        page = shop.visit(context, "rudder", url=between.url, key=shop.keys["leaving"], beacon="on")
        id = call(page, "track", "Left", {}, {})
        page.goto("about:blank")
        query = "select type from events where source = 'leaving' and id = %s"
        assert until(lambda: shop.installation.sql(query, id), 30, shop.installation.tell) == [("left",)]
        posts = until(lambda: [seen for seen in between.seen if seen.method == "POST"], 30, "there was no beacon")
    assert [(seen.path.partition("?")[0], seen.status) for seen in posts] == [("/beacon/v1/batch", 200)]


def test_what_is_tracked_in_batches_arrives_in_one_request(shop: Shop, context: BrowserContext) -> None:
    with closing(Between(shop.installation.url)) as between:
        page = shop.visit(context, "segment", key=shop.keys["leaving"], host=between.url.removeprefix("http://"))
        ids = [call(page, "track", "Counted", {"n": n}, {}) for n in range(10)]
        query = "select id from events where source = 'leaving' and session_id = %s"
        phone = device(page)
        until(lambda: len(shop.installation.sql(query, phone)) >= len(ids), 30, shop.installation.tell)
        posts = until(lambda: [seen for seen in between.seen if seen.method == "POST"], 30, "nothing was posted")
    assert sorted(shop.installation.sql(query, phone)) == sorted((id,) for id in ids)
    assert posts == [("POST", "/v1/b", 200)]


def test_pages_of_another_origin_send_nothing_although_another_source_is_theirs(
    shop: Shop, context: BrowserContext
) -> None:
    denied = answered(shop.installation, "origin_denied")
    page = shop.visit(context, "segment", origin=shop.other.origin)
    phone = device(page)
    page.evaluate("void call('track', 'Stolen', {}, {})")
    until(lambda: answered(shop.installation, "origin_denied") > denied, 20, "nothing was refused for its origin")
    page.close()
    shop.installation.wait_through()
    query = "select 1 from events where session_id = %s or type = 'stolen'"
    assert shop.installation.sql(query, phone) == []


def test_pages_of_an_origin_that_no_source_names_do_not_even_get_an_answer(shop: Shop, context: BrowserContext) -> None:
    page = context.new_page()
    settings = f"{shop.installation.url}/v1/projects/{shop.keys['segment']}/settings"
    ask = "url => fetch(url).then(answer => answer.status, error => error.name)"
    page.goto(shop.site.origin)
    assert page.evaluate(ask, settings) == 200
    page.goto("data:text/html,elsewhere")
    assert page.evaluate(ask, settings) == "TypeError"


def test_everything_that_the_browsers_sent_has_one_outcome(shop: Shop, visits: Visits) -> None:
    shop.installation.wait_through()
    balance = shop.installation.require_balance()
    assert not any(numbers["rejected"] or numbers["dead_letters"] for numbers in balance.values())
