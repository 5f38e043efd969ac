import type { Kept, Waiting } from "./kept";
import type { Settings } from "./settings";

const TOGETHER = 50;
const SOON_MS = 400;
const LONGEST_MS = 60_000;
/** What browsers let a page send that is going away, or may go away meanwhile: 64 KiB of all that is under way. */
const LEAVING_BYTES = 60_000;
/** What the door takes at once. */
const MOST_BYTES = 900_000;

/**
 * Sends what waits, oldest first, until it is acknowledged: with the same ids however often, so that it counts once.
 */
export class Sender {
  private timer = 0;
  private failures = 0;
  private busy = false;
  private alone = false;

  constructor(
    private readonly settings: Settings,
    private readonly kept: Kept,
  ) {}

  /** Send within a moment, together with what else comes. */
  soon(afterMs = SOON_MS): void {
    // While the door wants to be left alone, what comes meanwhile waits for the timer that is set.
    if (!this.timer && !(this.busy && afterMs === SOON_MS)) {
      this.timer = window.setTimeout(() => {
        this.timer = 0;
        void this.send();
      }, afterMs);
    }
  }

  async send(): Promise<void> {
    const together = this.next(MOST_BYTES);
    if (this.busy || !together.length) return;
    this.busy = true;
    let waitMs = SOON_MS;
    try {
      const body = this.payload(together);
      const answer = await fetch(this.url(), {
        method: "POST",
        // Text: browsers send it without asking first.
        headers: { "content-type": "text/plain" },
        body,
        keepalive: bytesOf(body) < LEAVING_BYTES,
      });
      waitMs = await this.settle(together, answer);
    } catch {
      waitMs = this.later(null);
    }
    this.busy = false;
    if (this.kept.mayStore && this.kept.waiting().length) this.soon(waitMs);
    else if (this.kept.closing) this.kept.unsettle();
  }

  /** The page goes away. What is sent so stays until it is acknowledged: the next page sends it once more. */
  leave(): void {
    const together = this.next(LEAVING_BYTES);
    if (together.length) navigator.sendBeacon(this.url(), new Blob([this.payload(together)], { type: "text/plain" }));
  }

  private url(): string {
    const { door, key } = this.settings;
    return `${door}/track${key ? `?writeKey=${encodeURIComponent(key)}` : ""}`;
  }

  /** The first that wait, of one session, as many as fit. */
  private next(mostBytes: number): Waiting[] {
    const all = this.kept.waiting();
    let together = all.filter((one) => one.session === all[0]?.session).slice(0, this.alone ? 1 : TOGETHER);
    while (together.length > 1 && bytesOf(this.payload(together)) > mostBytes) {
      together = together.slice(0, Math.floor(together.length / 2));
    }
    return together;
  }

  private payload(together: Waiting[]): string {
    const { profile } = this.kept.known();
    return JSON.stringify({
      source: { id: this.settings.source },
      session: { id: together[0]?.session },
      ...(profile ? { profile: { id: profile } } : {}),
      sent_at: new Date().toISOString(),
      events: together.map((one) => one.event),
    });
  }

  /** Milliseconds until the next try. */
  private async settle(together: Waiting[], answer: Response): Promise<number> {
    if (answer.status >= 500 || answer.status === 408 || answer.status === 429) {
      return this.later(answer.headers.get("retry-after"));
    }
    // One that is refused takes no others with it: each is tried by itself.
    if (!answer.ok && together.length > 1) {
      this.alone = true;
      return SOON_MS;
    }
    // Taken, or refused for good: sending it again would not help.
    this.failures = 0;
    if (answer.ok) this.alone = false;
    this.kept.remove(new Set(together.map((one) => one.event.id)));
    if (answer.ok) {
      const said = (await answer.json()) as { profile?: { id: string } };
      // Somebody may have signed off meanwhile: then it is another's.
      if (said.profile && this.kept.known().session === together[0]?.session) {
        this.kept.change({ profile: said.profile.id });
      }
    }
    return SOON_MS;
  }

  private later(retryAfter: string | null): number {
    this.failures += 1;
    const asked = Number(retryAfter ?? 0) * 1000;
    const backoff = Math.min(LONGEST_MS, 1000 * 2 ** Math.min(this.failures, 6));
    return Math.max(asked || 0, backoff * (0.5 + Math.random() / 2));
  }
}

function bytesOf(text: string): number {
  return new TextEncoder().encode(text).length;
}
