/** What stays in the browser: who it is, which visit, and what has not been acknowledged. */

export interface Sent {
  id: string;
  type: string;
  timestamp: string;
  properties: Record<string, unknown>;
  context: Record<string, unknown>;
}

/** Events with all that they are sent with: the session they are of never changes. */
export interface Waiting {
  session: string;
  event: Sent;
}

interface Known {
  device: string;
  session: string;
  seen: number;
  profile?: string;
  user?: string;
  consents?: Record<string, boolean>;
}

const IDLE_MS = 30 * 60_000;
/** The oldest ones go first: a browser that is offline for weeks keeps this many. */
const MOST = 500;

export function newId(): string {
  if (typeof crypto.randomUUID === "function") return crypto.randomUUID();
  // Pages without TLS have no randomUUID.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export class Kept {
  private readonly names: { known: string; waiting: string };
  private fallback: Record<string, string> = {};
  /** False: nothing stays in the browser, only in this page. */
  mayStore = true;
  /** Consent was taken back: what waits is still sent, then nothing stays. */
  closing = false;

  constructor(source: string) {
    this.names = { known: `headwater.${source}`, waiting: `headwater.${source}.waiting` };
  }

  known(): Known {
    const found = this.read<Known>(this.names.known);
    return found?.device ? found : { device: newId(), session: newId(), seen: Date.now() };
  }

  /** The visit that goes on, or a new one after half an hour of silence. */
  visit(): Known {
    const known = this.known();
    const now = Date.now();
    if (now - known.seen > IDLE_MS) known.session = newId();
    known.seen = now;
    this.change(known);
    return known;
  }

  change(known: Partial<Known>): void {
    this.write(this.names.known, { ...this.known(), ...known });
  }

  forget(): void {
    this.write(this.names.known, null);
  }

  waiting(): Waiting[] {
    return this.read<Waiting[]>(this.names.waiting) ?? [];
  }

  add(one: Waiting): void {
    this.write(this.names.waiting, [...this.waiting(), one].slice(-MOST));
  }

  remove(ids: Set<string>): void {
    this.write(
      this.names.waiting,
      this.waiting().filter((one) => !ids.has(one.event.id)),
    );
  }

  /** Write down what was kept in the page only until now, beside what other pages have. */
  settle(): void {
    const known = this.read<Known>(this.names.known);
    const waiting = this.waiting();
    this.fallback = {};
    this.mayStore = true;
    if (!this.read<Known>(this.names.known)?.device) this.write(this.names.known, known);
    else if (known?.consents) this.change({ consents: { ...this.known().consents, ...known.consents } });
    for (const one of waiting) this.add(one);
  }

  /** Nothing stays in the browser any more, nor is anything written there from now on. */
  unsettle(): void {
    this.write(this.names.known, null);
    this.write(this.names.waiting, null);
    this.mayStore = this.closing = false;
    this.fallback = {};
  }

  private read<T>(name: string): T | null {
    try {
      return JSON.parse(this.fallback[name] ?? localStorage.getItem(name) ?? "null") as T | null;
    } catch {
      return null; // no storage, or somebody else wrote there
    }
  }

  private write(name: string, value: unknown): void {
    this.store(name, JSON.stringify(value));
  }

  private store(name: string, value: string): void {
    if (this.mayStore) {
      try {
        if (value === "null") localStorage.removeItem(name);
        else localStorage.setItem(name, value);
        delete this.fallback[name];
        return;
      } catch {
        // Full, or forbidden: it lives as long as the page does.
      }
    }
    this.fallback[name] = value;
  }
}
