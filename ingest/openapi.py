"""What the door takes and answers, as OpenAPI 3.1: served at /openapi.json, and what tests make requests from."""

from typing import Any

from schemas.limits import MAX_EVENTS, MAX_ID_CHARS, MAX_TAGS, MAX_TYPE_CHARS

Schema = dict[str, Any]


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Schema, *required: str, **more: Any) -> Schema:
    return {"type": "object", "properties": properties, "required": list(required), **more}


_TEXT: Schema = {"type": "string"}
_ID: Schema = {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS}
_HAS_ID = _object({"id": _ID}, "id")
_ANY: Schema = {"type": "object"}
_TIME: Schema = {"type": "string", "format": "date-time"}
_VERDICTS: Schema = {"type": "array", "items": _ref("Verdict")}

_SCHEMAS: Schema = {
    "Payload": _object(
        {
            "source": _HAS_ID,
            "session": _HAS_ID,
            "profile": _HAS_ID,
            "profile_less": {"type": "boolean"},
            "sent_at": _TIME,
            "context": _ANY,
            "options": _object({name: {"type": "boolean"} for name in ("saveEvents", "saveSession", "saveProfile")}),
            "events": {"type": "array", "items": _ref("Event"), "minItems": 1, "maxItems": MAX_EVENTS},
        },
        "source",
        "events",
    ),
    "Event": _object(
        {
            "id": _ID,
            "type": {"type": "string", "minLength": 1, "maxLength": MAX_TYPE_CHARS},
            "timestamp": _TIME,
            "properties": _ANY,
            "context": _ANY,
            "tags": {"type": "array", "items": _ID, "maxItems": MAX_TAGS},
        },
        "type",
    ),
    "Verdict": _object(
        {
            "id": _TEXT,
            "status": {"enum": ["accepted", "rejected"]},
            "reasons": {"type": "array", "items": _ref("Reason")},
        },
        "id",
        "status",
    ),
    "Reason": _object({"code": _TEXT, "path": _TEXT, "message": _TEXT}, "code"),
    "Taken": _object(
        {
            "session": {"anyOf": [_HAS_ID, {"type": "null"}]},
            "profile": {"anyOf": [_HAS_ID, {"type": "null"}]},
            "events": _VERDICTS,
        },
        "session",
        "profile",
        "events",
    ),
    "Success": _object({"success": {"const": True}, "rejected": _VERDICTS}, "success"),
    "Status": _object({"status": {"type": "integer"}, "rejected": _VERDICTS}, "status"),
    "Error": _object(
        {
            "error": _object({"code": _TEXT, "message": _TEXT, "request_id": _TEXT}, "code", "message", "request_id"),
            "code": _TEXT,
            "message": _TEXT,
        },
        "error",
    ),
    "Message": _object(
        {
            "type": {"enum": ["track", "identify", "page", "screen", "group", "alias"]},
            "messageId": _ID,
            "userId": {"type": ["string", "integer", "null"]},
            "anonymousId": {"type": ["string", "null"]},
            "event": _TEXT,
            "properties": _ANY,
            "traits": _ANY,
            "context": _ANY,
            "timestamp": _TIME,
            "sentAt": _TIME,
            "writeKey": _TEXT,
        }
    ),
    "Batch": _object(
        {
            "batch": {"type": "array", "items": _ref("Message"), "minItems": 1, "maxItems": MAX_EVENTS},
            "writeKey": _TEXT,
        },
        "batch",
    ),
    "Capture": _object(
        {
            "event": _TEXT,
            "distinct_id": _TEXT,
            "uuid": _TEXT,
            "properties": _ANY,
            "timestamp": _TIME,
            "api_key": _TEXT,
        },
        "event",
    ),
}


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _answers(taken: Schema) -> Schema:
    """What is answered to what is sent; every error has one shape."""
    error = {"description": "nothing of it was taken; see docs/input.md", "content": _json(_ref("Error"))}
    codes = ("400", "401", "403", "404", "405", "408", "413", "415", "429", "503")
    return {"200": {"description": "Kafka has it", "content": _json(taken)}, **dict.fromkeys(codes, error)}


def _posting(summary: str, body: Schema, taken: Schema, parameters: tuple[Schema, ...] = ()) -> Schema:
    return {
        "post": {
            "summary": summary,
            "security": [{"key": []}, {"bearer": []}, {"query": []}, {}],
            "parameters": list(parameters),
            "requestBody": {"required": True, "content": _json(body)},
            "responses": _answers(taken),
        }
    }


def _in_path(name: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": _ID}


_KINDS = ("track", "identify", "page", "screen", "group", "alias")
_COLLECT = (_in_path("event_type"), _in_path("source"))
OPENAPI: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Headwater: the door", "version": "1", "license": {"name": "Apache-2.0"}},
    "paths": {
        "/track": _posting("A tracker payload", _ref("Payload"), _ref("Taken")),
        **{f"/v1/{kind}": _posting(f"A {kind} call", _ref("Message"), _ref("Success")) for kind in _KINDS},
        "/v1/batch": _posting("Calls of Segment's and RudderStack's libraries", _ref("Batch"), _ref("Success")),
        "/batch": _posting(
            "Captures of PostHog's libraries",
            _object({"api_key": _TEXT, "batch": {"type": "array", "items": _ref("Capture")}}, "batch"),
            _ref("Status"),
        ),
        "/capture": _posting("A capture", _ref("Capture"), _ref("Status")),
        "/collect/{event_type}/{source}": _posting("A webhook of anybody", _ANY, _ref("Taken"), _COLLECT),
        "/collect/{event_type}/{source}/{session}": _posting(
            "A webhook of somebody's session", _ANY, _ref("Taken"), (*_COLLECT, _in_path("session"))
        ),
        "/health": {"get": {"summary": "Alive", "responses": {"200": {"description": "it runs"}}}},
        "/ready": {
            "get": {
                "summary": "Takes payloads",
                "responses": {"200": {"description": "yes"}, "503": {"description": "not now"}},
            }
        },
    },
    "components": {
        "schemas": _SCHEMAS,
        "securitySchemes": {
            "key": {"type": "http", "scheme": "basic", "description": "the write key as the user's name"},
            "bearer": {"type": "http", "scheme": "bearer"},
            "query": {"type": "apiKey", "in": "query", "name": "writeKey"},
        },
    },
}
