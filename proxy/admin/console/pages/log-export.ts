import { csvLine } from "../../../audit/csv.ts";
import type { Found, FoundEvent } from "../../../audit/log-search.ts";

type Lacks = Pick<Found, "more" | "unreadable">;

const COLUMNS: readonly (readonly [string, (event: FoundEvent) => string])[] = [
  ["time", ({ time }) => new Date(time).toISOString()],
  ["kind", ({ kind }) => kind],
  ["user", ({ user }) => user],
  ["account", ({ account }) => account ?? ""],
  ["role", ({ role }) => role],
  ["about", ({ about }) => about ?? ""],
  ["decision", ({ decision }) => decision ?? ""],
  ["sqlstate", ({ sqlstate }) => sqlstate ?? ""],
  ["rule", ({ rule }) => rule ?? ""],
  ["people", ({ people }) => String(people ?? "")],
  ["rows", ({ rows }) => String(rows ?? "")],
  ["times", ({ times }) => String(times)],
  ["in_the_clear", ({ classes }) => (classes === null ? "not recorded" : classes.join(" "))],
  ["masked", ({ masked }) => masked.join(" ")],
  ["statement", ({ statement }) => statement],
  ["told", ({ told }) => told],
  ["reference", ({ reference }) => reference ?? ""],
  ["database", ({ database }) => database],
  ["address", ({ address }) => address],
  ["application", ({ application }) => application],
  ["session", ({ session }) => session],
  ["writer", ({ writer }) => writer],
  ["sequence", ({ sequence }) => String(sequence)],
];

/** Where a line of the log stands (`writer`, `sequence`) is with each, so that it can be proved. */
export function csvOf(events: readonly FoundEvent[], lacks: Lacks): string {
  const lines = events.map((event) => csvLine(COLUMNS.map(([, value]) => value(event))));
  const end = lacksOf(lacks).map((text) => csvLine([`# ${text}`]));
  return [csvLine(COLUMNS.map(([name]) => name)), ...lines, ...end].join("");
}

export function jsonOf(events: readonly FoundEvent[], lacks: Lacks): string {
  return `${JSON.stringify({ lacks: lacksOf(lacks), events }, undefined, 1)}\n`;
}

function lacksOf({ more, unreadable }: Lacks): readonly string[] {
  return [
    ...(more ? ["there are more events: narrow the search for the others"] : []),
    ...unreadable.map((name) => `${name} cannot be read`),
  ];
}
