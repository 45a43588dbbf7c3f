import type { SeenStatement } from "../../recent.ts";
import { type Html, html } from "../html.ts";
import { at } from "../routes.ts";
import { type Group, inARow } from "./grouped-rows.ts";
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

/** Statements without their literals, as the audit log has them; equal ones in a row are one row. */
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
    inARow(statements, sameWords)
      .slice(0, SHOWN)
      .map((run) => {
        const { newest: one, oldest } = run;
        const isOne = run.count === 1;
        return [
          [time(one.time, now), !isOne && html`<small>since ${time(oldest.time, now)}</small>`],
          [
            badge(...DECISIONS[one.decision]),
            !isOne && html` <b class="times">×${number(run.count)}</b>`,
            reason(one),
            person(one),
          ],
          one.statement === ""
            ? html`<span class="quiet">not SQL that could be read</span>`
            : code(one.statement),
          each(run, ({ rows }) => rows),
          each(run, ({ people }) => people),
          each(run, ({ duration }) => Math.round(duration)),
          html`<a href="${at.session(one.session)}" class="id" aria-label="Session ${one.session}">${one.session.slice(0, 8)}</a>`,
        ];
      }),
    "No statement yet.",
  );
}

function sameWords(one: SeenStatement): string {
  const { session, user, account, statement, decision, sqlstate, rule, masked } = one;
  return JSON.stringify([session, user, account, statement, decision, sqlstate, rule, masked]);
}

/** People of several runs may be the same, so there is no sum of them. */
function each({ all, count }: Group<SeenStatement>, figure: (one: SeenStatement) => number): string {
  const figures = all.map(figure);
  const [least, most] = [Math.min(...figures), Math.max(...figures)];
  if (count === 1) return number(most);
  if (most === 0) return "0";
  return least === most ? `${number(most)} each` : `${number(least)} to ${number(most)}`;
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
