"""Every limit on input, in one place. They chain: event < payload < record < broker.

The values are ours; the classes they answer are listed in docs/input.md.
"""

#: Largest body the door reads off the wire, and the largest it inflates a gzip body to, in bytes: of a payload, which
#: becomes one record, and of what libraries of others send, which becomes as many records as it has people.
MAX_BODY_BYTES = 1_000_000
MAX_BATCH_BYTES = 5_000_000
#: In so many pieces at most: a chunk of one byte costs as much as one of thousands.
MAX_PIECES = 10_000
#: All bodies under way in one door, each as large as it has become; so much of each is not counted.
MAX_BYTES_IN_FLIGHT = 32_000_000
SMALL_BODY_BYTES = 16_384
#: Connections of one door.
MAX_CONNECTIONS = 10_000
#: A request's head.
MAX_HEAD_BYTES = 8_192
#: Largest record in `tracks`; a little above the body, so that an accepted body always fits.
MAX_RECORD_BYTES = 1_048_576
#: Largest record between stages: an event plus what stages add to it (context of its payload, its profile's numbers).
MAX_TRANSIT_BYTES = 2_000_000
#: Largest single event inside a payload, in bytes as sent.
MAX_EVENT_BYTES = 262_144
#: A context, in bytes: every event of a payload carries its payload's.
MAX_CONTEXT_BYTES = 32_768
#: Events in one payload, or in a batch of other libraries' messages; tags of an event.
MAX_EVENTS = 500
MAX_TAGS = 50
#: Parameters in a query, and characters of a path with its query.
MAX_PARAMETERS = 100
MAX_TARGET_CHARS = 8_192
#: Nesting of free-form JSON, keys in one object, bytes in one key.
MAX_DEPTH = 64
MAX_KEYS = 1_000
MAX_KEY_BYTES = 256
#: Integers beyond this lose digits in other JSON readers; larger ids are sent as strings.
MAX_INTEGER = 2**53
#: Characters in ids that clients make: events, sessions, profiles, sources.
MAX_ID_CHARS = 100
#: Characters in an identifier's value (an e-mail, a customer number).
MAX_IDENTIFIER_CHARS = 200
#: Bytes of an identifier that is made of several values; longer ones are hashed.
MAX_COMPOSITE_BYTES = 1_000
#: Characters in an event type's name.
MAX_TYPE_CHARS = 100
#: A trait that events carry with them, in bytes of JSON.
MAX_LOOKUP_BYTES = 1_000
#: Items of a list that is appended to, and their bytes of JSON. Of more the first are kept, in their order.
MAX_LIST_ITEMS = 1_000
MAX_LIST_BYTES = MAX_EVENT_BYTES
#: Of a profile's counters so many travel with its events and its changes: somebody may write ids into event types.
MAX_COUNTERS = 250
#: Client clocks may run ahead by this much before their time is replaced by the time of receipt, in seconds.
MAX_CLOCK_AHEAD_S = 300
#: By so much a clock that says when it sent may be off: times are moved by it. What is off by more is no clock.
MAX_CLOCK_OFF_S = 730 * 86_400
#: Characters in a CEL expression, and how deep its comprehensions may nest: CEL has no step budget here.
MAX_CONDITION_CHARS = 2_000
MAX_COMPREHENSIONS = 1
#: An event that a workflow emitted may cause another, up to this many times in a row.
MAX_HOPS = 10
