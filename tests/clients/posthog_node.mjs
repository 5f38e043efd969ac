// Every call of posthog-node, set up as its users do. Says the ids of its events and its errors.
import { randomUUID } from "node:crypto";
import { PostHog } from "posthog-node";

const [url, key, tag, what] = process.argv.slice(2);
const names = ["phone", "laptop", "before", "stranger", "user"];
const [phone, laptop, before, stranger, user] = names.map((name) => `${tag}-${name}`);
const ids = [];
const errors = [];

const posthog = new PostHog(key, { host: url });
posthog.on("error", (error) => errors.push(String(error)));

// A server's process goes on while the library waits to send again: its own timers do not keep a process.
const alive = setInterval(() => {}, 1000);

// Its own calls do not tell which id an event has; that of a capture may be given.
function capture(event, distinctId, properties, timestamp) {
  const uuid = randomUUID();
  ids.push(uuid);
  posthog.capture({ event, distinctId, properties, timestamp, uuid });
}

if (what === "everything") {
  const order = { total: 3.5, items: [{ sku: "a", gift: null }] };
  capture("Order Completed", phone, order, new Date("2026-01-02T03:04:05Z"));
  posthog.identify({ distinctId: user, properties: { $anon_distinct_id: phone, email: `${user}@example.com` } });
  capture("Cart Viewed", laptop);
  posthog.identify({ distinctId: user, properties: { $anon_distinct_id: laptop, $set_once: { city: "Ghent" } } });
  capture("$pageview", user, { $current_url: "https://example.com/docs" });
  capture("$screen", user, { $screen_name: "Settings" });
  const group = { groupType: "company", groupKey: `${tag}-group`, properties: { name: "ACME" } };
  posthog.groupIdentify({ ...group, distinctId: user });
  posthog.groupIdentify(group);
  capture("Product Viewed", before);
  posthog.alias({ distinctId: user, alias: before });
  capture("$set", user, { $set: { first_name: "Jane" } });
  capture("Signed Up!", user, { plan: "pro" });
  capture("Page Left", stranger);
  // Asking for a flag tells of it, too: an event `$feature_flag_called`.
  if ((await posthog.evaluateFlags(user)).isEnabled("beta")) throw new Error("there are no flags");
} else {
  capture("Order Completed", phone, { total: 3.5 });
}
await posthog.shutdown();
clearInterval(alive);
console.log(JSON.stringify({ ids, errors }));
