/**
 * The tracking script. A page may call it before it has come:
 *
 *   window.headwater = window.headwater || [];
 *   headwater.push(["track", "Order Completed", { order_id: "7", total: 12.5 }]);
 */
import { Kept, newId } from "./kept";
import { context, observe, view } from "./page";
import { Sender } from "./sender";
import { isRefused, settingsOf, type Settings } from "./settings";

type Properties = Record<string, unknown>;
type Call = [name: string, ...given: unknown[]];

class Tracker {
  private readonly kept: Kept;
  private readonly sender: Sender;

  constructor(private readonly settings: Settings) {
    this.kept = new Kept(settings.source);
    this.kept.mayStore = !settings.needsConsent || this.agreed();
    this.sender = new Sender(settings, this.kept);
    addEventListener("visibilitychange", () => {
      if (document.visibilityState === "hidden") this.leave();
    });
    addEventListener("pagehide", () => this.leave());
    addEventListener("online", () => this.sender.soon());
    observe(settings, this.track);
    if (this.kept.mayStore) this.sender.soon();
  }

  /** Something happened. */
  readonly track = (type: string, properties: Properties = {}): void => {
    if (this.kept.closing && type !== "consent-update") return;
    const { session, device, user } = this.kept.visit();
    const whose = { anonymous_id: device, ...(user ? { user_id: user } : {}) };
    const event = { id: newId(), type, timestamp: new Date().toISOString(), properties };
    this.kept.add({ session, event: { ...event, context: { ...context(), ...whose } } });
    if (this.kept.mayStore) this.sender.soon();
  };

  /** A page was shown, where that is not seen by itself. */
  readonly page = (): void => view(this.track);

  /** Who it is, and what is known of them. */
  readonly identify = (user: string, traits: Properties = {}): void => {
    this.kept.change({ user });
    this.track("identify", traits);
  };

  /** What somebody agrees to, and what not: `{marketing: true}`. */
  readonly consent = (consents: Record<string, boolean>): void => {
    this.kept.change({ consents: { ...this.kept.known().consents, ...consents } });
    this.track("consent-update", { consents });
    if (!this.settings.needsConsent) return;
    // What was taken back is still said, and nothing after it.
    this.kept.closing = !this.agreed() && this.kept.mayStore;
    if (this.agreed() && !this.kept.mayStore) {
      this.kept.settle();
      this.sender.soon();
    }
  };

  /** Somebody signed off: whoever comes next is another. What waits is still sent, as what it was. */
  readonly reset = (): void => {
    if (this.settings.needsConsent) this.kept.unsettle();
    else this.kept.forget();
  };

  /** Send now, without waiting for more. */
  readonly flush = (): void => {
    if (this.kept.mayStore) void this.sender.send();
  };

  readonly push = (...calls: Call[]): void => {
    for (const [name, ...given] of calls) {
      const call = (this as unknown as Record<string, unknown>)[name];
      if (typeof call === "function") call(...given);
    }
  };

  private agreed(): boolean {
    return Object.values(this.kept.known().consents ?? {}).some(Boolean);
  }

  private leave(): void {
    if (this.kept.mayStore) this.sender.leave();
  }
}

const page = window as unknown as { headwater?: Call[] | Tracker; headwaterIsHere?: boolean };
const script = document.currentScript as HTMLScriptElement | null;
const settings = settingsOf(script);
if (!settings) {
  console.error("headwater: the script tag has no data-source");
} else if (isRefused(script)) {
  page.headwater = { push: () => undefined } as unknown as Tracker;
} else if (!page.headwaterIsHere) {
  page.headwaterIsHere = true;
  const before = page.headwater ?? [];
  const tracker = new Tracker(settings);
  page.headwater = tracker;
  if (Array.isArray(before)) tracker.push(...before);
}
