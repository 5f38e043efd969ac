"""Small definitions that several tests use."""

SHOP = """
kind: source
id: shop
---
kind: event-type
id: order-completed
schema:
  type: object
  required: [order, customer]
  properties:
    order:
      type: object
      required: [discs, total]
      properties:
        discs: {type: integer, minimum: 1}
        total: {type: number, minimum: 0}
    customer:
      type: object
      required: [id]
      properties:
        id: {type: string, minLength: 1}
"""


def payload(source: str, *events: dict, session: str | None = None, **more: object) -> dict:
    """A tracker payload."""
    body: dict = {"source": {"id": source}, **more, "events": list(events)}
    if session is not None:
        body["session"] = {"id": session}
    return body
