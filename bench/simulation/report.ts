import type { Alert } from "../../proxy/guard/behaviour/watch.ts";
import { type Agent, DAY, DAYS, type Sip, START } from "./organisation.ts";
import { CURVE, FIRST_DAY, THIEVES, type Thief } from "./thieves.ts";
import type { Outcome } from "./world.ts";

/** How long it takes until somebody has read an alert and cut the account off. */
const REACTION = DAY;

interface Loss {
  readonly time: number;
  readonly person: number;
}

/** What came out, and whom the guard stood in the way of. */
export class Ledger {
  readonly alerts: Alert[] = [];
  /** By user. */
  readonly losses = new Map<string, Loss[]>();
  readonly stoppedAt = new Map<string, number>();
  /** Statements of honest agents that were stopped, and how. */
  readonly blocked: { readonly user: string; readonly time: number; readonly tightened: boolean }[] = [];
  honestDays = 0;
  readonly #days = new Set<string>();

  enter(sip: Sip, outcome: Outcome, tightened: boolean): void {
    if (sip.user.includes("#")) {
      if (sip.stolen) this.#enterTheft(sip, outcome);
      return;
    }
    const day = `${sip.user} ${Math.floor(sip.time / DAY)}`;
    if (!this.#days.has(day)) {
      this.#days.add(day);
      this.honestDays += 1;
    }
    if (outcome.stopped !== "no") this.blocked.push({ user: sip.user, time: sip.time, tightened });
  }

  #enterTheft({ user, time, people }: Sip, { released, stopped }: Outcome): void {
    const losses = this.losses.get(user) ?? [];
    for (const person of people.slice(0, released)) losses.push({ time, person });
    this.losses.set(user, losses);
    if (stopped === "suspended" && !this.stoppedAt.has(user)) this.stoppedAt.set(user, time);
  }
}

export interface CurvePoint {
  readonly perDay: number;
  readonly alone: number;
  readonly watched: number;
}

export interface Report {
  readonly text: string;
  readonly curve: readonly CurvePoint[];
}

interface Fate {
  readonly lost: number;
  readonly lostIfWatched: number;
  readonly firstAlert: number | undefined;
  readonly rules: readonly string[];
  readonly suspended: number | undefined;
}

const THEFT_STARTS = START + FIRST_DAY * DAY;

function fateOf(ledger: Ledger, thief: Thief): Fate {
  const users = Array.from({ length: thief.accounts }, (_, i) => `${thief.name}#${i}`);
  const alerts = ledger.alerts.filter(({ user, time }) => users.includes(user) && time >= THEFT_STARTS);
  const people = new Set<number>();
  const watched = new Set<number>();
  for (const user of users) {
    const seen = alerts.find((alert) => alert.user === user)?.time ?? Number.POSITIVE_INFINITY;
    for (const { time, person } of ledger.losses.get(user) ?? []) {
      people.add(person);
      if (time <= seen + REACTION) watched.add(person);
    }
  }
  const stops = users.map((user) => ledger.stoppedAt.get(user));
  return {
    lost: people.size,
    lostIfWatched: watched.size,
    firstAlert: alerts[0]?.time,
    rules: [...new Set(alerts.map(({ rule, action }) => `${rule} (${action})`))],
    suspended: stops.every((time) => time !== undefined)
      ? Math.max(...stops.map((time) => time ?? 0))
      : undefined,
  };
}

export function reportOf(
  ledger: Ledger,
  { staff, memory }: { readonly staff: readonly Agent[]; readonly memory: number },
): Report {
  const curve = CURVE.map((thief): CurvePoint => {
    const { lost, lostIfWatched } = fateOf(ledger, thief);
    return { perDay: Number(thief.name.slice("rate ".length)), alone: lost, watched: lostIfWatched };
  });
  const text = [
    "| thief | tries | lost, if nobody looks | lost, if an alert is answered within a day | first alert after | by | suspended after |",
    "| --- | --- | ---: | ---: | --- | --- | --- |",
    ...THIEVES.map((thief) => rowOf(thief, fateOf(ledger, thief))),
    "",
    "One account that takes so many a day beside its work, from day 42 to day 90:",
    "",
    "| a day | lost, if nobody looks | lost, if an alert is answered within a day |",
    "| ---: | ---: | ---: |",
    ...curve.map(
      ({ perDay, alone, watched }) => `| ${figure(perDay)} | ${figure(alone)} | ${figure(watched)} |`,
    ),
    "",
    ...honestLines(ledger, staff),
    "",
    `Redis held ${figure(Math.round(memory / 2 ** 20))} MB at the end, for ${figure(staff.length)} agents and all thieves.`,
    "",
  ].join("\n");
  return { text, curve };
}

function rowOf({ name, what }: Thief, fate: Fate): string {
  const cells = [
    name,
    what,
    figure(fate.lost),
    figure(fate.lostIfWatched),
    after(fate.firstAlert),
    fate.rules.join(", ") || "-",
    after(fate.suspended),
  ];
  return `| ${cells.join(" | ")} |`;
}

function honestLines(ledger: Ledger, staff: readonly Agent[]): readonly string[] {
  const honest = ledger.alerts.filter(({ user }) => !user.includes("#"));
  const months = (staff.length * DAYS) / 30;
  const byRule = new Map<string, number>();
  for (const { rule } of honest) byRule.set(rule, (byRule.get(rule) ?? 0) + 1);
  const rules = [...byRule].map(([rule, count]) => `${rule} ${count}`).join(", ") || "none";
  const because = ledger.blocked.filter(({ tightened }) => tightened).length;
  return [
    "| honest agents | figure | target |",
    "| --- | ---: | ---: |",
    `| alerts in ${figure(months)} agent-months (${rules}) | ${honest.length} | |`,
    `| false alerts per 100 agent-months | ${((100 * honest.length) / months).toFixed(2)} | < 1 |`,
    `| statements stopped in ${figure(ledger.honestDays)} agent-days | ${ledger.blocked.length} | |`,
    `| of these of a tightened agent | ${because} | |`,
    `| blocked statements per 1,000 agent-days | ${((1000 * ledger.blocked.length) / ledger.honestDays).toFixed(2)} | < 1 |`,
  ];
}

function after(time: number | undefined): string {
  if (time === undefined) return "never";
  const hours = (time - THEFT_STARTS) / 3_600_000;
  return hours < 48 ? `${hours.toFixed(1)} h` : `${(hours / 24).toFixed(1)} d`;
}

function figure(value: number): string {
  return value.toLocaleString("en-GB");
}
