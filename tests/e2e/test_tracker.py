"""The tracking script, as browsers run it: what people do on a page is recorded once, as theirs, or not at all."""

import gzip
import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route

from tests.conftest import MakeInstallation
from tests.kit import chromium
from tests.kit.installation import Installation
from tests.kit.processes import REPOSITORY
from tests.kit.serving import Handler, Server
from tests.kit.waiting import until

DEFINITIONS = """
kind: source
id: shop
enrich: [client, user-agent]
---
{kind: predefined, id: clients}
"""
MAX_BYTES = 5_000


@pytest.fixture(scope="module")
def door(make_shared_installation: MakeInstallation) -> Installation:
    installation = make_shared_installation(DEFINITIONS)
    installation.start("validate", "identify", "persist", "merge")
    installation.start_door()
    return installation


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium.running() as found:
        yield found


class Pages(Handler):
    """Of an origin of their own: whatever is asked for, it is the page that was set last."""

    html = ""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(Pages.html.encode())


@pytest.fixture(scope="module")
def pages() -> Iterator[str]:
    """Where they are."""
    server = Server(Pages)
    yield server.url
    server.close()


@pytest.fixture
def person(browser: Browser) -> Iterator[BrowserContext]:
    """A browser that has never been here."""
    context = browser.new_context(
        user_agent="Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36"
    )
    yield context
    context.close()


def page_with(door: Installation, attributes: str = "", body: str = "") -> str:
    script = f'<script src="{door.url}/tracker.js" data-source="shop" {attributes} async></script>'
    return f"<!doctype html><title>A shop</title><script>window.headwater = []</script>{script}{body}"


def visit(person: BrowserContext, pages: str, html: str, path: str = "/") -> Page:
    """A page that is there, and its script with it."""
    Pages.html = html
    page = person.new_page()
    page.goto(pages + path, wait_until="load")
    return page


def call(page: Page, *calls: list[Any]) -> None:
    page.evaluate("calls => headwater.push(...calls)", list(calls))


def kept(page: Page) -> dict[str, str]:
    return dict(page.evaluate("Object.fromEntries(Object.entries(localStorage))"))


def device(page: Page) -> str:
    return str(json.loads(kept(page)["headwater.shop"])["device"])


def recorded(door: Installation, device: str, number: int) -> list[dict[str, Any]]:
    """What a browser did, in its order, once so much of it is recorded."""
    query = (
        "select type, properties, context, session_id, coalesce(p.merged_into, p.id)::text from events e "
        "join profiles p on p.id = e.profile_id where context->>'anonymous_id' = %s order by occurred_at, e.id"
    )
    found = until(lambda: (rows := door.sql(query, device)) and len(rows) >= number and rows, 30, door.tell)
    names = ("type", "properties", "context", "session", "profile")
    return [dict(zip(names, row, strict=True)) for row in found]


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def test_the_script_is_small_and_was_made_of_the_source_that_lies_here(door: Installation) -> None:
    answer = door.get("/tracker.js")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert len(gzip.compress(answer.content)) <= MAX_BYTES
    source = sorted((REPOSITORY / "ingest" / "tracker" / "src").iterdir())
    version = sha256(b"".join(path.read_bytes() for path in source)).hexdigest()[:12]
    assert version in answer.text, "ingest/tracker.js is older than its source: npm run build"


def test_pages_clicks_forms_and_calls_are_events_of_one_visit(
    door: Installation, person: BrowserContext, pages: str
) -> None:
    body = """
        <a href="#more" class="link">More</a><button id="buy" data-track="Cart Opened">Cart</button>
        <form id="letter" onsubmit="return false"><input name="mail" value="jane@example.org">
        <button>Send</button></form>
    """
    page = visit(
        person, pages, page_with(door, 'data-clicks="a, [data-track]" data-forms="form"', body), "/start?utm_source=x"
    )
    page.wait_for_function("!!headwater.track")
    page.click("text=More")
    page.click("text=Cart")
    page.click("text=Send")
    page.evaluate("history.pushState({}, '', '/second')")
    call(page, ["track", "Order Completed", {"total": 12.5}], ["consent", {"marketing": True}])
    events = recorded(door, device(page), 7)
    assert sorted(types(events)) == sorted(
        ["page-view", "link-clicked", "cart-opened", "form-submitted", "page-view", "order-completed", "consent-update"]
    )
    by_type = {event["type"]: event for event in events}
    assert by_type["order-completed"]["properties"] == {"total": 12.5}
    assert by_type["link-clicked"]["properties"] == {
        "element": "a.link",
        "text": "More",
        "url": f"{pages}/start?utm_source=x#more",
    }
    assert by_type["form-submitted"]["properties"] == {"form": "letter"}
    assert [event["properties"]["path"] for event in events if event["type"] == "page-view"] == ["/start", "/second"]
    assert len({(event["session"], event["profile"]) for event in events}) == 1
    assert by_type["page-view"]["context"]["browser"]["name"] == "Chrome"
    assert all("jane@example.org" not in json.dumps(event) for event in events)


def test_the_next_page_goes_on_with_the_visit_and_the_profile_that_the_door_gave(
    door: Installation, person: BrowserContext, pages: str
) -> None:
    first = visit(person, pages, page_with(door))
    first.wait_for_function("localStorage['headwater.shop']?.includes('profile')")
    second = visit(person, pages, page_with(door), "/second")
    events = recorded(door, device(second), 2)
    assert types(events) == ["page-view", "page-view"]
    assert len({(event["session"], event["profile"]) for event in events}) == 1


def test_what_was_called_before_the_script_came_is_not_lost(
    door: Installation, person: BrowserContext, pages: str
) -> None:
    html = page_with(door, 'data-pages="off"').replace(
        "window.headwater = []", 'window.headwater = [["track", "early"]]'
    )
    page = visit(person, pages, html)
    page.wait_for_function("!!headwater.track")
    assert types(recorded(door, device(page), 1)) == ["early"]


def test_events_wait_while_the_browser_is_offline_and_are_recorded_once(
    door: Installation, person: BrowserContext, pages: str
) -> None:
    page = visit(person, pages, page_with(door, 'data-pages="off"'))
    page.wait_for_function("!!headwater.track")
    person.set_offline(True)
    with page.expect_event("requestfailed"):
        call(page, ["track", "offline-1"], ["track", "offline-2"])
    person.set_offline(False)
    page.wait_for_function("localStorage['headwater.shop.waiting'] === '[]'")
    assert sorted(types(recorded(door, device(page), 2))) == ["offline-1", "offline-2"]


def test_what_is_refused_for_now_is_sent_again_with_the_same_ids(
    door: Installation, person: BrowserContext, pages: str
) -> None:
    bodies: list[Any] = []

    def answer(route: Route) -> None:
        bodies.append(json.loads(route.request.post_data or ""))
        if len(bodies) < 3:
            headers = {
                "retry-after": "1",
                "access-control-allow-origin": "*",
                "access-control-expose-headers": "retry-after",
            }
            route.fulfill(status=(503, 429)[len(bodies) - 1], headers=headers, body="{}")
        else:
            route.continue_()

    person.route("**/track", answer)
    page = visit(person, pages, page_with(door))
    page.wait_for_function("localStorage['headwater.shop.waiting'] === '[]'")
    assert types(recorded(door, device(page), 1)) == ["page-view"]
    assert len(bodies) == 3
    assert len({event["id"] for body in bodies for event in body["events"]}) == 1


def test_what_is_done_as_the_page_goes_away_is_recorded_once(
    door: Installation, person: BrowserContext, pages: str
) -> None:
    page = visit(person, pages, page_with(door, 'data-pages="off"'))
    page.wait_for_function("!!headwater.track")
    page.evaluate("() => { headwater.push(['track', 'left']); location.href = '/next' }")
    page.wait_for_url("**/next")
    page.wait_for_function("localStorage['headwater.shop.waiting'] === '[]'")
    call(page, ["track", "came"])
    assert sorted(types(recorded(door, device(page), 2))) == ["came", "left"]


def test_signing_in_makes_two_browsers_one_person_and_signing_off_begins_another(
    door: Installation, browser: Browser, pages: str
) -> None:
    found = []
    for _ in range(2):
        person = browser.new_context()
        page = visit(person, pages, page_with(door))
        page.wait_for_function("!!headwater.track")
        call(page, ["identify", "user-7", {"email": "seven@example.org"}])
        found.append(recorded(door, device(page), 2))
        before = device(page)
        if len(found) == 2:
            call(page, ["reset"], ["track", "somebody-else"])
            assert device(page) != before
            stranger = recorded(door, device(page), 1)
        person.close()
    query = "select count(distinct coalesce(merged_into, id)) from profiles where id::text = any(%s)"
    profiles = sorted({event["profile"] for events in found for event in events})
    until(lambda: door.one(query, profiles) == 1, 30, door.tell)
    assert stranger[0]["session"] not in {event["session"] for events in found for event in events}
    assert stranger[0]["profile"] not in profiles


def test_nothing_is_kept_or_sent_where_the_browser_says_do_not_track(
    door: Installation, person: BrowserContext, pages: str
) -> None:
    person.add_init_script("Object.defineProperty(navigator, 'globalPrivacyControl', {value: true})")
    page = visit(person, pages, page_with(door))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    call(page, ["track", "x"], ["identify", "u"])
    page.reload(wait_until="load")
    assert kept(page) == {}
    assert not [url for url in asked if "/track" in url and "tracker.js" not in url]


def test_nothing_is_kept_or_sent_before_somebody_agrees_where_that_is_required(
    door: Installation, person: BrowserContext, pages: str
) -> None:
    page = visit(person, pages, page_with(door, 'data-consent="required"'))
    page.wait_for_function("!!headwater.track")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    call(page, ["track", "before"], ["consent", {"marketing": False}])
    page.evaluate("headwater.flush()")
    assert (kept(page), asked) == ({}, [])
    call(page, ["consent", {"marketing": True}])
    events = recorded(door, device(page), 4)
    assert sorted(types(events)) == ["before", "consent-update", "consent-update", "page-view"]
    # The next page need not be told.
    page.reload(wait_until="load")
    assert len(recorded(door, device(page), 5)) == 5
