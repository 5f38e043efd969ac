"""What the web mix runs with: every event is checked, routed, and changes its profile."""

TYPES = ("page-view", "product-viewed", "product-added", "order-completed")

SOURCE = """
kind: source
id: web
client_profile_ids: true
---
kind: namespace
id: user-id
---
kind: segment
id: engaged
condition: profile.counters["page-view"] > 20
---
kind: segment
id: buyer
condition: has(profile.totals.revenue) && profile.totals.revenue > 100.0
---
kind: destination
id: crm
condition: '"buyer" in profile.segments'
mapping:
  revenue: profile.totals.revenue
---
kind: workflow
id: remember
nodes:
  keep:
    action: update-profile
    config:
      set: {last_seen: string(event.time), last_type: event.type}
      increment: {events: "1"}
    then: [order]
  order:
    action: condition
    config: {if: event.type == "order-completed"}
    then: {"true": [sum]}
  sum:
    action: update-profile
    config:
      increment: {revenue: event.properties.product.price}
"""

#: Of each event type: its schema, who it identifies, and the rule that runs the workflow.
OF_EACH_TYPE = """
---
kind: event-type
id: {type}
schema:
  type: object
  required: [page, product]
  properties:
    page: {{type: object, required: [url], properties: {{url: {{type: string}}, title: {{type: string}}}}}}
    product: {{type: object, required: [id, price], properties: {{id: {{type: string}}, price: {{type: number}}}}}}
    user: {{type: object, properties: {{id: {{type: string}}}}}}
---
kind: identification-point
id: who-sent-{type}
event_type: {type}
identifiers:
  - {{namespace: user-id, property: user.id}}
---
kind: rule
id: on-{type}
event_type: {type}
workflows: [remember]
"""

WEB = SOURCE + "".join(OF_EACH_TYPE.format(type=type) for type in TYPES)
