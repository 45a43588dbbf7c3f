import type { FalseAlert, Fate, Results } from "./results.ts";
import { CURVE, curveName, RATES, THIEVES } from "./thieves.ts";

/** Of several runs the worst for us stands in a cell. */
export function thievesTable(runs: readonly Results[], of: readonly { readonly thief: string }[]): string[] {
  return [
    "| thief | tries | lost, if nobody looks | lost, if an alert is answered within a day | first alert after | by | suspended after |",
    "| --- | --- | ---: | ---: | --- | --- | --- |",
    ...of.map(({ thief }) => thiefRow(runs, thief)),
  ];
}

function thiefRow(runs: readonly Results[], name: string): string {
  const fates = fatesOf(runs, name);
  const what = [...THIEVES, ...CURVE].find((thief) => thief.name === name)?.what ?? "";
  const cells = [
    name,
    what,
    figure(Math.max(...fates.map(({ lost }) => lost))),
    figure(Math.max(...fates.map(({ lostIfWatched }) => lostIfWatched))),
    latest(fates.map(({ alertedAfter }) => alertedAfter)),
    [...new Set(fates.flatMap(({ rules }) => rules))].join(", ") || "-",
    latest(fates.map(({ suspendedAfter }) => suspendedAfter)),
  ];
  return `| ${cells.join(" | ")} |`;
}

export interface CurvePoint {
  readonly perDay: number;
  /** Nobody looks at alerts; the thief has made up tickets for all of their people, or has none. */
  readonly madeUp: number;
  readonly none: number;
  /** They have made up tickets, and alerts are answered within a day. */
  readonly watched: number;
}

/** The worst of all runs. */
export function curveOf(runs: readonly Results[]): readonly CurvePoint[] {
  return RATES.map((perDay) => {
    const madeUp = fatesOf(runs, curveName(perDay, "made up"));
    const none = fatesOf(runs, curveName(perDay, "none"));
    return {
      perDay,
      madeUp: Math.max(...madeUp.map(({ lost }) => lost)),
      none: Math.max(...none.map(({ lost }) => lost)),
      watched: Math.max(...madeUp.map(({ lostIfWatched }) => lostIfWatched)),
    };
  });
}

export function curveTable(curve: readonly CurvePoint[]): string[] {
  return [
    "| a day | lost, no tickets | lost, tickets made up | that, if an alert is answered within a day |",
    "| ---: | ---: | ---: | ---: |",
    ...curve.map(
      ({ perDay, none, madeUp, watched }) =>
        `| ${figure(perDay)} | ${figure(none)} | ${figure(madeUp)} | ${figure(watched)} |`,
    ),
  ];
}

export function honestTable(runs: readonly Results[]): string[] {
  const honest = runs.map((run) => run.honest);
  const row = (what: string, cell: (of: Results["honest"]) => string, target = "") =>
    `| ${[what, ...honest.map(cell), target].join(" | ")} |`;
  return [
    `| honest agents | ${runs.map(({ seed }) => `seed ${seed}`).join(" | ")} | target |`,
    `| --- |${runs.map(() => " ---: |").join("")} --- |`,
    row("agent-months", ({ months }) => figure(months)),
    row("false alerts", ({ falseAlerts }) => byRule(falseAlerts)),
    row(
      "false alerts per 100 agent-months",
      ({ falseAlerts, months }) => ((100 * falseAlerts.length) / months).toFixed(2),
      "< 1",
    ),
    row("agent-days", ({ days }) => figure(days)),
    row("forgotten conditions that were stopped", ({ slipsStopped }) => figure(slipsStopped)),
    row("other statements that were stopped", ({ blocked }) => figure(blocked)),
    row("of these of a tightened agent", ({ blockedAsTightened }) => figure(blockedAsTightened)),
    row(
      "blocked statements per 1,000 agent-days, forgotten conditions included",
      ({ blocked, slipsStopped, days }) => ((1000 * (blocked + slipsStopped)) / days).toFixed(2),
      "< 1",
    ),
    row("agents suspended by mistake", ({ suspended }) => figure(suspended)),
  ];
}

function fatesOf(runs: readonly Results[], name: string): readonly Fate[] {
  return runs.flatMap(({ thieves }) => thieves.filter(({ thief }) => thief === name));
}

function byRule(alerts: readonly FalseAlert[]): string {
  const counts = new Map<string, number>();
  for (const { rule } of alerts) counts.set(rule, (counts.get(rule) ?? 0) + 1);
  return [...counts].map(([rule, count]) => `${rule} ${count}`).join(", ") || "none";
}

function latest(hours: readonly (number | undefined)[]): string {
  if (hours.length === 0 || hours.includes(undefined)) return "never";
  const most = Math.max(...hours.map((hour) => hour ?? 0));
  return most < 48 ? `${most.toFixed(1)} h` : `${(most / 24).toFixed(1)} d`;
}

export function figure(value: number): string {
  return value.toLocaleString("en-GB");
}
