import { version } from "../../../version.ts";
import { type Html, html, type Value } from "../html.ts";
import type { Visit } from "../log-in.ts";

/** Of the navigation. */
const PLACES = [
  ["/console", "Overview"],
  ["/console/readers", "Readers"],
  ["/console/sessions", "Sessions"],
  ["/console/alerts", "Alerts"],
  ["/console/cases", "Cases"],
  ["/console/log", "Log"],
  ["/console/person", "Person"],
  ["/console/policy", "Policy"],
  ["/console/explain", "Explain"],
] as const;

export type Place = (typeof PLACES)[number][0];

export interface Content {
  readonly title: string;
  /** The place in the navigation that the page belongs to. */
  readonly place: Place | undefined;
  readonly visit: Visit;
  readonly notice?: string | undefined;
  readonly body: Value;
}

/** A page for a user who has logged in. */
export function layout({ title, place, visit, notice, body }: Content): Html {
  return page(
    title,
    html`<header class="top">
      <a class="brand" href="/console">Sluice</a>
      <nav aria-label="Pages">
        <ul>${PLACES.map(([path, name]) => navigation(path, name, path === place))}</ul>
      </nav>
      <form method="post" action="/console/log-out">
        ${formToken(visit)}
        <button class="plain" type="submit">Log out</button>
      </form>
    </header>
    <main id="main" tabindex="-1">
      ${notice !== undefined && html`<p class="notice" role="status">${notice}</p>`}
      <div class="heading"><h1><bdi>${title}</bdi></h1><span id="watching" role="status"></span></div>
      ${body}
    </main>
    <footer>Sluice ${version()}. Times are UTC. You act as <strong>${visit.by}</strong> in the audit log.</footer>
    <p id="news" class="unseen" role="status"></p>`,
  );
}

/** The frame of every page, that of the login too. */
export function page(title: string, body: Value, head?: Html): Html {
  return html`<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <title>${title} · Sluice</title>
    ${head}
    <link rel="icon" href="/console/console.svg" type="image/svg+xml">
    <link rel="stylesheet" href="/console/console.css">
    <script src="/console/console.js" defer></script>
  </head>
  <body>
    <a class="skip" href="#main">Skip to the content</a>
    ${body}
  </body>
</html>`;
}

/** Ties a form to the login that it was made for. */
export function formToken(visit: Visit): Html {
  return html`<input type="hidden" name="form_token" value="${visit.formToken}">`;
}

/** Looks for news by itself while the page is watched, if the browser runs the script. */
export function live(id: string, body: Value): Html {
  return html`<div class="live" id="${id}" data-live>${body}</div>`;
}

function navigation(path: string, name: string, here: boolean): Html {
  return html`<li><a href="${path}"${here && html` aria-current="page"`}>${name}</a></li>`;
}
