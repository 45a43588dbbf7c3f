import type { SeenStatement } from "../../recent.ts";
import { type Html, html } from "../html.ts";
import { at } from "../routes.ts";
import { badge, code, number, type Tone, table, time, userLink } from "./pieces.ts";

const DECISIONS: Readonly<Record<SeenStatement["decision"], readonly [Tone, string]>> = {
  allow: ["quiet", "passed"],
  mask: ["good", "masked"],
  refuse: ["bad", "refused"],
  cut: ["bad", "cut off"],
  observe: ["warn", "only observed"],
};

/** More than anybody reads. */
const SHOWN = 200;

/** Statements without their literals, as the audit log has them. */
export function statementTable(caption: string, statements: readonly SeenStatement[], now: number): Html {
  return table(
    caption,
    [
      { head: "Time" },
      { head: "Verdict" },
      { head: "Statement", kind: "long" },
      { head: "Rows", kind: "number" },
      { head: "People", kind: "number" },
      { head: "ms", kind: "number" },
      { head: "Session" },
    ],
    statements
      .slice(0, SHOWN)
      .map((one) => [
        time(one.time, now),
        [badge(...DECISIONS[one.decision]), reason(one), person(one)],
        one.statement === ""
          ? html`<span class="quiet">not SQL that could be read</span>`
          : code(one.statement),
        number(one.rows),
        number(one.people),
        number(Math.round(one.duration)),
        html`<a href="${at.session(one.session)}" class="id" aria-label="Session ${one.session}">${one.session.slice(0, 8)}</a>`,
      ]),
    "No statement yet.",
  );
}

/** For whom an application's account ran it. */
function person({ user, account }: SeenStatement): Html {
  return account === undefined ? html`` : html` <small>for ${userLink(user)} by ${userLink(account)}</small>`;
}

function reason({ decision, sqlstate, rule, masked }: SeenStatement): Html {
  const texts = [
    sqlstate,
    rule,
    masked.length > 0 ? `${decision === "mask" ? "" : "masks "}${masked.join(", ")}` : undefined,
  ].filter((text) => text);
  return texts.length === 0 ? html`` : html`<small>${texts.join(" · ")}</small>`;
}
