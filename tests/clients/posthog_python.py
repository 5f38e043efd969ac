"""Every call of posthog, set up as its users do. Says the ids of its events and its errors."""

import json
import sys
from datetime import UTC, datetime

from posthog import Posthog

url, key, tag, what = sys.argv[1:]
ids: list[str] = []
errors: list[str] = []
posthog = Posthog(key, host=url, on_error=lambda error, _: errors.append(str(error)))

phone, laptop, before, stranger, user = (f"{tag}-{one}" for one in ("phone", "laptop", "before", "stranger", "user"))


def sent(id: str | None) -> None:
    ids.append(str(id))


if what == "everything":
    sent(
        posthog.capture(
            "Order Completed",
            distinct_id=phone,
            properties={"total": 3.5, "items": [{"sku": "a", "gift": None}]},
            timestamp=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        )
    )
    traits = {"$set": {"email": f"{user}@example.com"}}
    sent(posthog.capture("$identify", distinct_id=user, properties={"$anon_distinct_id": phone, **traits}))
    sent(posthog.capture("Cart Viewed", distinct_id=laptop))
    sent(posthog.capture("$identify", distinct_id=user, properties={"$anon_distinct_id": laptop}))
    sent(posthog.capture("$pageview", distinct_id=user, properties={"$current_url": "https://example.com/docs"}))
    sent(posthog.capture("$screen", distinct_id=user, properties={"$screen_name": "Settings"}))
    sent(posthog.group_identify("company", f"{tag}-group", {"name": "ACME"}, distinct_id=user))
    sent(posthog.capture("Product Viewed", distinct_id=before))
    sent(posthog.alias(before, user))
    sent(posthog.set(distinct_id=user, properties={"first_name": "Jane"}))
    sent(posthog.set_once(distinct_id=user, properties={"city": "Ghent"}))
    sent(posthog.capture("Signed Up!", distinct_id=user, properties={"plan": "pro"}))
    sent(posthog.capture("Page Left", distinct_id=stranger))
    sent(posthog.capture("Nobody Came"))
    # Asking for a flag tells of it, too: an event `$feature_flag_called`.
    assert not posthog.evaluate_flags(user).is_enabled("beta")
else:
    sent(posthog.capture("Order Completed", distinct_id=phone, properties={"total": 3.5}))
posthog.flush()
posthog.shutdown()
print(json.dumps({"ids": ids, "errors": errors}))
