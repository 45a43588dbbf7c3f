// Looks for news while somebody watches: fetches the page again and puts its live parts in place of the old
// ones. Without this script every page works; one reloads it by hand.

const EVERY_MS = 2_000;

const watching = document.getElementById("watching");
const news = document.getElementById("news");
const parts = () => [...document.querySelectorAll("[data-live]")];

/** Said only when it changes, so that a screen reader does not repeat it. */
function say(element, text) {
  if (element !== null && element.textContent !== text) element.textContent = text;
}

function sayState(state, text) {
  watching?.setAttribute("data-state", state);
  say(watching, text);
}

async function look() {
  let response;
  try {
    response = await fetch(location.href, { headers: { "sluice-watch": "1" }, cache: "no-store" });
  } catch {
    sayState("away", "Not live: Sluice cannot be reached");
    return true;
  }
  if (response.status === 401) {
    sayState("away", "Not live: your login has ended, reload the page");
    return false;
  }
  if (!response.ok) {
    sayState("away", "Not live: Sluice answers with an error");
    return true;
  }
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const part of parts()) {
    const next = fresh.getElementById(part.id);
    if (next !== null && !isBeingRead(part)) replace(part, next);
  }
  sayState("live", "Live");
  return true;
}

/** Who marks text to copy it wants it to stay. */
function isBeingRead(part) {
  const selection = getSelection();
  return selection !== null && !selection.isCollapsed && part.contains(selection.anchorNode);
}

function replace(part, next) {
  if (part.innerHTML === next.innerHTML) return;
  const focused = part.contains(document.activeElement) ? document.activeElement : null;
  const before = newest(part);
  part.replaceChildren(...next.childNodes);
  // The same link, or what of it has stayed in the same place of the order.
  const href = focused?.getAttribute("href");
  if (href) part.querySelector(`a[href="${CSS.escape(href)}"]`)?.focus({ preventScroll: true });
  const come = rowsSince(part, before);
  if (come.length > 0) tell(come);
}

function newest(part) {
  return Number(part.querySelector("[data-newest]")?.getAttribute("data-newest") ?? Infinity);
}

function rowsSince(part, when) {
  return [...part.querySelectorAll("[data-newest] tbody tr")].filter(
    (row) => Date.parse(row.querySelector("time")?.dateTime ?? "") > when,
  );
}

function tell(rows) {
  for (const row of rows) row.classList.add("new");
  const { length } = rows;
  say(news, length === 1 ? "One new entry among the alerts" : `${length} new entries among the alerts`);
}

async function watch() {
  if (document.hidden) {
    document.addEventListener("visibilitychange", watch, { once: true });
  } else if (await look()) {
    setTimeout(watch, EVERY_MS);
  }
}

document.querySelector("[data-focus]")?.focus();
if (parts().length > 0) {
  sayState("live", "Live");
  setTimeout(watch, EVERY_MS);
}
