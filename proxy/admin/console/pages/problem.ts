import { type Html, html } from "../html.ts";
import type { Visit } from "../log-in.ts";
import { layout } from "./layout.ts";

/** What could not be done, and why. */
export function problemPage(visit: Visit, problem: string): Html {
  return layout({
    title: "That did not work",
    place: undefined,
    visit,
    body: html`<p class="problem" role="alert">${problem}</p><p><a href="/console">To the overview</a></p>`,
  });
}
