"""Every call of segment-analytics-python, set up as its users do. Says the ids of its messages and its errors."""

import json
import sys
from datetime import UTC, datetime

from segment.analytics import Client  # type: ignore[import-untyped]

url, key, tag, what = sys.argv[1:]
ids: list[str] = []
errors: list[str] = []
analytics = Client(key, host=url, on_error=lambda error, _: errors.append(str(error)))

phone, laptop, before, stranger, user = (f"{tag}-{one}" for one in ("phone", "laptop", "before", "stranger", "user"))


def sent(result: tuple[bool, dict[str, str]]) -> None:
    ids.append(result[1]["messageId"])


if what == "everything":
    sent(
        analytics.track(
            anonymous_id=phone,
            event="Order Completed",
            properties={"total": 3.5, "items": [{"sku": "a", "gift": None}]},
            context={"ip": "203.0.113.9"},
            timestamp=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        )
    )
    sent(analytics.identify(user, {"email": f"{user}@example.com", "first_name": "Jane"}, anonymous_id=phone))
    sent(analytics.track(anonymous_id=laptop, event="Cart Viewed"))
    sent(analytics.identify(user, {"city": "Ghent"}, anonymous_id=laptop))
    sent(analytics.page(user, "Docs", "Python", {"url": "https://example.com/docs"}))
    sent(analytics.screen(user, "Settings", "Main", {"dark": True}))
    sent(analytics.group(user, f"{tag}-group", {"name": "ACME"}))
    sent(analytics.track(anonymous_id=before, event="Product Viewed"))
    sent(analytics.alias(before, user))
    sent(analytics.track(user, "Signed Up!", {"plan": "pro"}, message_id=f"{tag}-own"))
    sent(analytics.track(anonymous_id=stranger, event="Page Left"))
elif what == "too-much":
    for n in range(3):
        sent(analytics.track(anonymous_id=phone, event="Counted", properties={"n": n}))
    analytics.flush()
    sent(analytics.track(anonymous_id=phone, event="Counted", properties={"n": 3}))
else:
    sent(analytics.track(anonymous_id=phone, event="Order Completed", properties={"total": 3.5}))
analytics.flush()
analytics.join()
print(json.dumps({"ids": ids, "errors": errors}))
