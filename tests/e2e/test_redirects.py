"""Links at /redirect: they make events, and lead to where they were defined to lead, whatever a request says."""

from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from schemas.definitions.inbound import Redirect
from tests.conftest import MakeInstallation
from tests.kit.installation import RECORDING, Installation
from tests.kit.waiting import until

URL = "https://shop.example/sale?a=1&b=%20#top"
DEFINITIONS = f"""
{{kind: source, id: mails}}
---
{{kind: source, id: closed, enabled: false}}
---
{{kind: source, id: locked, requires_key: true}}
---
{{kind: source, id: signed, signing: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw]}}
---
{{kind: source, id: track-only, bridges: [http]}}
---
{{kind: source, id: pages, origins: ["https://shop.example"]}}
---
{{kind: source, id: slow, rate: {{per_second: 0.001, burst: 1}}}}
---
kind: redirect
id: sale
source: mails
url: "{URL}"
event_type: Link Followed
properties: {{campaign: spring, depth: {{n: 1}}}}
---
{{kind: redirect, id: retired, source: mails, url: "{URL}", event_type: x, enabled: false}}
""" + "".join(
    f'---\n{{kind: redirect, id: of-{source}, source: {source}, url: "{URL}", event_type: x}}\n'
    for source in ("closed", "locked", "signed", "track-only", "pages", "slow")
)


@pytest.fixture(scope="module")
def door(make_shared_installation: MakeInstallation) -> Installation:
    installation = make_shared_installation(DEFINITIONS, forked=True)
    installation.start(*RECORDING)
    installation.start_door()
    return installation


def follow(door: Installation, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with httpx.Client(base_url=door.url, trust_env=False, timeout=30) as client:
        return client.request(method, path, headers=named)


def require_led_on(answer: httpx.Response) -> None:
    assert (answer.status_code, answer.headers.get_list("location")) == (302, [URL])
    assert answer.headers["cache-control"] == "no-store"
    assert answer.content == b""
    assert answer.headers.keys().isdisjoint({"set-cookie", "refresh", "link", "evil"})


def taken(door: Installation) -> int:
    return sum(door.ends(["tracks"]).values())


def recorded(door: Installation, mark: str) -> list[tuple[Any, ...]]:
    """(type, source, session, whether it has a profile, properties) of the events whose query had this mark."""
    query = (
        "select type, source, session_id, profile_id is not null, properties from events where properties->>'mark' = %s"
    )
    return until(lambda: door.sql(query, mark), 20, door.tell)


def test_a_link_makes_its_event_with_the_query_beside_its_own_properties_and_leads_on(door: Installation) -> None:
    require_led_on(follow(door, "/redirect/sale/visit-1?mark=m1&campaign=forged&%C3%BC=%E2%98%83"))
    properties = {"mark": "m1", "campaign": "spring", "depth": {"n": 1}, "ü": "☃"}
    assert recorded(door, "m1") == [("link-followed", "mails", "visit-1", True, properties)]


SESSIONS: dict[str, tuple[str, str, str | None]] = {
    "in the path": ("/visit-2", "", "visit-2"),
    "in our cookie": ("", "a=b; headwater-session=visit-3; c=d", "visit-3"),
    "in tracardi's cookie": ("", "tracardi-session-id=visit-4", "visit-4"),
    "in both": ("/visit-5", "headwater-session=visit-6", "visit-5"),
    "in no cookie of ours": ("", "session=visit-7; headwater-session-2=visit-8; headwater-session=", None),
    "nowhere": ("", "", None),
}


@pytest.mark.parametrize("case", SESSIONS)
def test_the_session_is_that_of_the_path_else_of_the_cookie_else_it_is_nobodys(door: Installation, case: str) -> None:
    path, cookie, session = SESSIONS[case]
    mark = case.replace(" ", "-")
    require_led_on(follow(door, f"/redirect/sale{path}?mark={mark}", cookie=cookie))
    assert [row[2:4] for row in recorded(door, mark)] == [(session, session is not None)]


ATTEMPTS: dict[str, tuple[str, dict[str, str]]] = {
    "a query that names a place": ("?url=https://evil.example&to=//evil.example&location=https://evil.example", {}),
    "a query that is one": ("?https://evil.example", {}),
    "a place behind the link": ("/https:%2F%2Fevil.example", {}),
    "the host's name": ("", {"host": "evil.example", "x_forwarded_host": "evil.example", "forwarded": "host=evil"}),
    "other headers": ("", {"referer": "https://evil.example", "x_original_url": "/evil", "x_rewrite_url": "/evil"}),
    "a new line in the query": ("?u=%0d%0aLocation:%20https://evil.example%0d%0aEvil:%201", {}),
    "a new line in the session": ("/s%0d%0aLocation:%20https:evil.example%0d%0aEvil:%201", {}),
    "a new line that is none": ("?u=%E5%98%8A%E5%98%8DEvil:1", {}),
    "a cookie": ("", {"cookie": "headwater-session=x%0d%0aEvil:1; url=https://evil.example"}),
}


@pytest.mark.parametrize("case", ATTEMPTS)
def test_no_request_leads_anywhere_else(door: Installation, case: str) -> None:
    path, headers = ATTEMPTS[case]
    answer = follow(door, f"/redirect/sale{path}", **headers)
    if answer.status_code == 404:  # a slash in the session: it is another path
        assert "location" not in answer.headers
        assert "evil" not in answer.text
    else:
        require_led_on(answer)


@pytest.mark.parametrize("url", ["https://shop.example/\r\nevil: 1", "https://shop.example\n", "javascript:alert(1)",
                                 "//evil.example", "https://shop.example/a b", "https://"])  # fmt: skip
def test_no_link_is_defined_that_leads_to_no_web_page(url: str) -> None:
    with pytest.raises(ValidationError):
        Redirect(id="x", source="mails", event_type="x", url=url)


@pytest.mark.parametrize("path", ["nobody", "retired", "", "sale/visit/more", "/evil.example", "https://evil.example",
                                  "sale%00", "SALE", "..%2fsale", "sale/"])  # fmt: skip
def test_a_link_that_is_not_defined_leads_nowhere_and_leaves_nothing(door: Installation, path: str) -> None:
    before = taken(door)
    answer = follow(door, f"/redirect/{path}")
    assert (answer.status_code, "location" in answer.headers) == (404, False)
    assert taken(door) == before


UNTAKEN = {
    "a source that is off": "of-closed",
    "a source for /track": "of-track-only",
    "pages of other origins": "of-pages",
    "a query that is no UTF-8": "sale?mark=%ff",
    "101 parameters": "sale?" + "a=1&" * 101,
}


@pytest.mark.parametrize("case", UNTAKEN)
def test_who_follows_a_link_arrives_though_the_event_cannot_be_taken(door: Installation, case: str) -> None:
    before = taken(door)
    require_led_on(follow(door, f"/redirect/{UNTAKEN[case]}", origin="https://elsewhere.example"))
    assert taken(door) == before


@pytest.mark.parametrize("link", ["of-locked", "of-signed"])
def test_a_link_needs_no_key_and_no_signature_its_definition_lets_it_in(door: Installation, link: str) -> None:
    require_led_on(follow(door, f"/redirect/{link}?mark={link}"))
    assert len(recorded(door, link)) == 1


def test_a_session_that_is_none_makes_the_event_nobody_s_and_costs_it_nothing_else(door: Installation) -> None:
    for number, session in enumerate(("%ff", "s" * 101)):
        require_led_on(follow(door, f"/redirect/sale/{session}?mark=no-session-{number}"))
        query = "select session_id, profile_id from events where properties->>'mark' = %s"
        assert until(lambda: door.sql(query, f"no-session-{number}"), 20, door.tell) == [(None, None)]  # noqa: B023


def test_who_follows_a_link_arrives_though_its_event_is_wrong_or_one_too_many(door: Installation) -> None:
    for _ in range(3):
        require_led_on(follow(door, "/redirect/of-slow?mark=slow"))
    assert len(recorded(door, "slow")) == 1
    require_led_on(follow(door, "/redirect/sale?mark=nul&text=%00"))
    query = "select source from failures where reasons->0->>'code' = 'nul_character'"
    assert until(lambda: door.sql(query), 20, door.tell) == [("mails",)]


def test_links_are_followed_by_get_alone(door: Installation) -> None:
    answer = follow(door, "/redirect/sale", method="POST")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


def test_everything_that_was_taken_has_one_outcome(door: Installation) -> None:
    door.wait_through()
    assert set(door.require_balance()) == {"mails", "slow", "locked", "signed"}
