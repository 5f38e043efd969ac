"""Every call of rudder-sdk-python, set up as its users do. Says the ids of its messages and its errors."""

import json
import sys
from datetime import UTC, datetime

import rudderstack.analytics as analytics  # type: ignore[import-untyped]

url, key, tag, what = sys.argv[1:]
ids: list[str] = []
errors: list[str] = []
analytics.write_key = key
analytics.dataPlaneUrl = url
analytics.on_error = lambda error, _: errors.append(str(error))

phone, laptop, before, stranger, user = (f"{tag}-{one}" for one in ("phone", "laptop", "before", "stranger", "user"))

if what == "everything":
    analytics.track(
        anonymous_id=phone,
        event="Order Completed",
        properties={"total": 3.5, "items": [{"sku": "a", "gift": None}]},
        context={"ip": "203.0.113.9"},
        timestamp=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        message_id=f"{tag}-own",
    )
    analytics.identify(user, {"email": f"{user}@example.com", "first_name": "Jane"}, anonymous_id=phone)
    analytics.track(anonymous_id=laptop, event="Cart Viewed")
    analytics.identify(user, {"city": "Ghent"}, anonymous_id=laptop)
    analytics.page(user, "Docs", "Python", {"url": "https://example.com/docs"})
    analytics.screen(user, "Settings", "Main", {"dark": True})
    analytics.group(user, f"{tag}-group", {"name": "ACME"})
    analytics.track(anonymous_id=before, event="Product Viewed")
    analytics.alias(before, user)
    analytics.track(user, "Signed Up!", {"plan": "pro"})
    analytics.track(anonymous_id=stranger, event="Page Left")
else:
    analytics.track(anonymous_id=phone, event="Order Completed", properties={"total": 3.5}, message_id=f"{tag}-own")
ids.append(f"{tag}-own")
analytics.flush()
analytics.shutdown()
print(json.dumps({"ids": ids, "errors": errors}))
