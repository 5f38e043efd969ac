"""What a run asks of the outside and sends there. It waits for an answer parked in PostgreSQL: no lane waits for it."""

import json
import re
from typing import Annotated, Any, Literal
from urllib.parse import quote, unquote, urlencode

from pydantic import AfterValidator, Field

from schemas.definitions.base import Id, TopicPart
from workflows.actions.action import Action, Config, Expression, Outcome, Run
from workflows.actions.data import ROOTS, Text, values_of
from workflows.commands import SendTo
from workflows.conditions import Condition
from workflows.templates import TextTemplate
from workflows.waiting import HttpCall, QueryCall


class Asking(Config):
    """`resource`: its id. `timeout_s`: of one try. `retries`: tries after the first, with growing pauses."""

    resource: Id
    timeout_s: float = Field(default=10, gt=0, le=60)
    retries: int = Field(default=3, ge=0, le=20)


def _is_path(text: str) -> str:
    if text and not text.startswith("/"):
        raise ValueError("a path begins with a slash")
    if _NOT_IN_PATHS.search(re.sub(r"\{[^{}]*\}", "", text)) or _leads_elsewhere(text):
        raise ValueError("a path has no query, no spaces, and no . or .. for a name")
    return text


def _leads_elsewhere(path: str) -> bool:
    return any(unquote(part) in (".", "..") for part in path.split("/"))


#: A query has a field of its own.
_NOT_IN_PATHS = re.compile(r"[?#\\\s\x00-\x1f\x7f]")
#: RFC 9110, 5.6.2.
HeaderName = Annotated[str, Field(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")]
HeaderText = Annotated[str, Field(pattern=r"^[ -~]*$", max_length=4000)]


class HttpRequestConfig(Asking):
    """`path`: behind the resource's url; what stands in braces is percent-encoded. `query`, `body`: name to CEL, the
    body is sent as JSON. `headers`: fixed ones, beside the resource's."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    path: Annotated[Text, AfterValidator(_is_path)] = ""
    query: dict[str, Expression] = Field(default_factory=dict)
    body: dict[str, Expression] = Field(default_factory=dict)
    headers: dict[HeaderName, HeaderText] = Field(default_factory=dict)


class HttpRequest(Action[HttpRequestConfig]):
    """Asks a service over HTTP. Its answer is `data.<node>`: `status`, `body` (JSON as it is, else a text). Answers
    that say "later" (408, 425, 429, 5xx) and failures of the network are tried again; leaves by `refused` on any other
    that is no success, by `error` where there was none at last, or where a path would lead elsewhere. A request may be
    sent twice, under the same Idempotency-Key."""

    name = "http-request"
    Config = HttpRequestConfig
    ports = ("out", "refused")

    def run(self, config: HttpRequestConfig, run: Run) -> Outcome:
        path = TextTemplate(config.path, ROOTS).fill(values_of(run), lambda text: quote(text, safe=""))
        if _leads_elsewhere(path):
            return Outcome(error="path_leads_elsewhere")
        query = {name: _text(value) for name, value in _values(config.query, run).items() if value is not None}
        call = HttpCall(
            resource=config.resource,
            method=config.method,
            path=f"{path}?{urlencode(query)}" if query else path,
            body=_values(config.body, run) if config.body else None,
            headers=config.headers,
            timeout_s=config.timeout_s,
            retries=config.retries,
        )
        return Outcome(wait=call)

    def resume(self, config: HttpRequestConfig, run: Run, answer: Any) -> Outcome:
        return Outcome("out" if 200 <= answer.value["status"] < 300 else "refused")


class QueryConfig(Asking):
    """`sql`: one statement, with `%(name)s` where values go; `values`: name to CEL."""

    sql: str = Field(min_length=1, max_length=20_000)
    values: dict[str, Expression] = Field(default_factory=dict)


class Query(Action[QueryConfig]):
    """Asks a PostgreSQL resource, in a transaction that may only read. Its rows (at most 100) are `data.<node>`, a list
    of objects. Leaves by `empty` where there are none, by `error` where it failed. Values never become part of the
    statement."""

    name = "query"
    Config = QueryConfig
    ports = ("out", "empty")

    def run(self, config: QueryConfig, run: Run) -> Outcome:
        values = _values(config.values, run)
        return Outcome(wait=QueryCall(config.resource, config.sql, values, config.timeout_s, config.retries))

    def resume(self, config: QueryConfig, run: Run, answer: Any) -> Outcome:
        return Outcome("out" if answer.value else "empty")


class SendConfig(Config):
    """`destination`: its id. `properties`: name to CEL, sent beside the profile."""

    destination: TopicPart
    properties: dict[str, Expression] = Field(default_factory=dict)


class SendToDestination(Action[SendConfig]):
    """Sends to a destination, in order with the profile's changes, with an id that stays the same when repeated."""

    name = "send-to-destination"
    Config = SendConfig

    def run(self, config: SendConfig, run: Run) -> Outcome:
        return Outcome(commands=[SendTo(config.destination, _values(config.properties, run))])


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _values(table: dict[str, Condition], run: Run) -> dict[str, Any]:
    return {name: expression.value(run.context) for name, expression in table.items()}
