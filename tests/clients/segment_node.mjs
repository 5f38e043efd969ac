// Every call of @segment/analytics-node, set up as its users do. Says the ids of its messages and its errors.
import { Analytics } from "@segment/analytics-node";

const [url, writeKey, tag, what] = process.argv.slice(2);
const names = ["phone", "laptop", "before", "stranger", "user"];
const [phone, laptop, before, stranger, user] = names.map((name) => `${tag}-${name}`);
const ids = [];
const errors = [];

const analytics = new Analytics({ writeKey, host: url });
analytics.on("error", (error) => errors.push(String(error.reason ?? error)));
const sent = (error, context) => ids.push(context.event.messageId);

if (what === "everything") {
  analytics.track(
    {
      anonymousId: phone,
      event: "Order Completed",
      properties: { total: 3.5, items: [{ sku: "a", gift: null }] },
      context: { ip: "203.0.113.9" },
      timestamp: new Date("2026-01-02T03:04:05Z"),
    },
    sent,
  );
  const jane = { email: `${user}@example.com`, firstName: "Jane" };
  analytics.identify({ userId: user, anonymousId: phone, traits: jane }, sent);
  analytics.track({ anonymousId: laptop, event: "Cart Viewed" }, sent);
  analytics.identify({ userId: user, anonymousId: laptop, traits: { city: "Ghent" } }, sent);
  const page = { category: "Docs", name: "Node", properties: { url: "https://example.com/docs" } };
  analytics.page({ userId: user, ...page }, sent);
  analytics.screen({ userId: user, category: "Settings", name: "Main", properties: { dark: true } }, sent);
  analytics.group({ userId: user, groupId: `${tag}-group`, traits: { name: "ACME" } }, sent);
  analytics.track({ anonymousId: before, event: "Product Viewed" }, sent);
  analytics.alias({ userId: user, previousId: before }, sent);
  analytics.track({ userId: user, event: "Signed Up!", properties: { plan: "pro" }, messageId: `${tag}-own` }, sent);
  analytics.track({ anonymousId: stranger, event: "Page Left" }, sent);
} else {
  analytics.track({ anonymousId: phone, event: "Order Completed", properties: { total: 3.5 } }, sent);
}
await analytics.closeAndFlush();
console.log(JSON.stringify({ ids, errors }));
