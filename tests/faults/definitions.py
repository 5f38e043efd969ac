"""What the experiments' installation is told: a shop whose every number can be recomputed from what was sent."""

#: Property values that are looked for in all logs: none may hold one.
CANARY = "canary-7f3a"

DEFINITIONS = """
kind: source
id: shop
---
kind: event-type
id: purchase
schema:
  type: object
  required: [amount, seq]
  properties:
    amount: {type: integer, minimum: 1}
    seq: {type: integer}
---
kind: namespace
id: email
normalise: lower
---
kind: identification-point
id: login
event_type: login
identifiers:
  - {namespace: member, property: member}
  - {namespace: email, property: email}
---
kind: rule
id: purchases
event_type: purchase
workflows: [sum]
---
kind: workflow
id: sum
nodes:
  add:
    action: update-profile
    config: {increment: {amount: event.properties.amount}, set: {last: event.properties.seq}}
---
kind: rule
id: logins
event_type: login
workflows: [watch]
---
kind: workflow
id: watch
nodes:
  copy: {action: copy-to-profile, config: {traits: {watched: watched}}}
---
kind: rule
id: alerts
event_type: alert
workflows: [tell]
---
kind: workflow
id: tell
nodes:
  send: {action: send-to-destination, config: {destination: hook, properties: {name: event.properties.name}}}
  emit: {action: emit-event, config: {type: alert-noted, properties: {name: event.properties.name}}}
---
kind: segment
id: frequent
condition: profile.counters["purchase"] > 40
---
kind: segment
id: spender
condition: profile.totals.amount >= 2500
---
kind: destination
id: hook
type: webhook
url: URL
timeout_s: 3
condition: profile.traits.watched == "yes"
mapping:
  purchases: profile.counters["purchase"]
  amount: profile.totals.amount
"""

#: The same rules once more, for the oracle: which profiles are in a segment, by purchases and their sum.
FREQUENT_ABOVE = 40
SPENDER_FROM = 2500
