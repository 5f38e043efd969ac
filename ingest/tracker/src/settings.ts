/** What the script tag says: `<script src="https://door/tracker.js" data-source="shop" async></script>`. */
export interface Settings {
  /** The id of a source, and a write key of it where it wants one. */
  source: string;
  key: string;
  /** Where payloads go: the door that served the script, unless `data-door` names another. */
  door: string;
  /** CSS selectors of what is worth an event when it is clicked, and of forms whose sending is. */
  clicks: string;
  forms: string;
  /** Page views by themselves, also where a page changes its address without being loaded. */
  pages: boolean;
  /** Nothing is kept or sent before somebody has agreed to something. */
  needsConsent: boolean;
}

export function settingsOf(script: HTMLScriptElement | null): Settings | null {
  const said = script?.dataset ?? {};
  if (!script || !said["source"]) return null;
  return {
    source: said["source"],
    key: said["key"] ?? "",
    door: (said["door"] ?? new URL(script.src).origin).replace(/\/$/, ""),
    clicks: said["clicks"] ?? "[data-track]",
    forms: said["forms"] ?? "",
    pages: said["pages"] !== "off",
    needsConsent: said["consent"] === "required",
  };
}

/** Whether the browser says that nobody is to follow its user. */
export function isRefused(script: HTMLScriptElement | null): boolean {
  if (script?.dataset["dnt"] === "ignore") return false;
  const says = navigator as Navigator & { globalPrivacyControl?: boolean };
  return says.doNotTrack === "1" || says.globalPrivacyControl === true;
}
