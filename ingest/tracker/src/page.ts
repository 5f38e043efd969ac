import type { Settings } from "./settings";

/** Of the source that this was built from. */
declare const VERSION: string;

type Track = (type: string, properties: Record<string, unknown>) => void;

const TEXT_CHARS = 100;

export function context(): Record<string, unknown> {
  return {
    page: { url: location.href, path: location.pathname, title: document.title, referrer: document.referrer },
    locale: navigator.language,
    timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
    screen: { width: screen.width, height: screen.height, density: devicePixelRatio },
    library: { name: "headwater-tracker", version: VERSION },
  };
}

/** Page views, clicks and forms, as the settings ask for them. */
export function observe(settings: Settings, track: Track): void {
  if (settings.pages) observePages(track);
  if (settings.clicks) observeClicks(settings.clicks, track);
  if (settings.forms) observeForms(settings.forms, track);
}

export function view(track: Track): void {
  track("page-view", {
    url: location.href,
    path: location.pathname,
    title: document.title,
    referrer: document.referrer,
  });
}

/** A page may change its address without being loaded: each address is a view. */
function observePages(track: Track): void {
  let last = "";
  const look = (): void => {
    const here = location.href.split("#")[0] ?? "";
    if (here === last) return;
    last = here;
    view(track);
  };
  for (const name of ["pushState", "replaceState"] as const) {
    const original = history[name].bind(history);
    history[name] = (...given: Parameters<History["pushState"]>) => {
      original(...given);
      setTimeout(look);
    };
  }
  addEventListener("popstate", () => setTimeout(look));
  look();
}

function observeClicks(selector: string, track: Track): void {
  addEventListener(
    "click",
    (event) => {
      const found = event.target instanceof Element ? event.target.closest<HTMLElement>(selector) : null;
      if (!found) return;
      track(found.dataset["track"] || "link-clicked", {
        element: nameOf(found),
        text: (found.textContent ?? "").trim().slice(0, TEXT_CHARS),
        ...(found instanceof HTMLAnchorElement ? { url: found.href } : {}),
      });
    },
    true,
  );
}

/** That a form was sent, and which: never what was written into it. */
function observeForms(selector: string, track: Track): void {
  addEventListener(
    "submit",
    (event) => {
      const form = event.target;
      if (form instanceof HTMLFormElement && form.matches(selector)) {
        track("form-submitted", { form: form.getAttribute("name") || form.id || form.action });
      }
    },
    true,
  );
}

function nameOf(element: Element): string {
  const id = element.id ? `#${element.id}` : "";
  return `${element.tagName.toLowerCase()}${id}${Array.from(element.classList, (name) => `.${name}`).join("")}`;
}
