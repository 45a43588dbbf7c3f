import type { Ledger } from "./ledger.ts";
import { DAY, START } from "./organisation.ts";
import type { Scene } from "./simulate.ts";
import { FIRST_DAY, type Thief } from "./thieves.ts";

/** How long it takes until somebody has read an alert and cut the account off. */
const REACTION = DAY;
const THEFT_STARTS = START + FIRST_DAY * DAY;

/** What became of a thief. Times are hours since they began; undefined: never. */
export interface Fate {
  readonly thief: string;
  /** Distinct people whom they got if nobody looks at alerts, and if one is answered within a day. */
  readonly lost: number;
  readonly lostIfWatched: number;
  readonly alertedAfter?: number;
  /** Of all of their accounts. */
  readonly suspendedAfter?: number;
  /** The rules that saw them and what they did. */
  readonly rules: readonly string[];
}

export interface FalseAlert {
  readonly rule: string;
  readonly day: number;
  readonly user: string;
  readonly text: string;
}

export interface Honest {
  readonly agents: number;
  readonly months: number;
  readonly days: number;
  readonly falseAlerts: readonly FalseAlert[];
  /** Statements that did not show all they asked for: forgotten conditions, and the others. */
  readonly slipsStopped: number;
  readonly blocked: number;
  readonly blockedAsTightened: number;
  readonly suspended: number;
}

/** Of one run. */
export interface Results {
  readonly seed: number;
  readonly profiles: Scene["profiles"];
  /** All users are people behind one application. */
  readonly behind?: true;
  readonly thieves: readonly Fate[];
  readonly honest: Honest;
  readonly redisBytes: number;
}

export function resultsOf(ledger: Ledger, scene: Scene, redisBytes: number): Results {
  return {
    seed: scene.seed,
    profiles: scene.profiles,
    ...(scene.application !== undefined && { behind: true }),
    thieves: scene.thieves.map((thief) => fateOf(ledger, thief)),
    honest: honestOf(ledger, scene),
    redisBytes,
  };
}

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
  const stops = users.map((user) => ledger.stoppedAt.get(user) ?? Number.POSITIVE_INFINITY);
  const alerted = hoursAfter(alerts[0]?.time ?? Number.POSITIVE_INFINITY);
  const suspended = hoursAfter(Math.max(...stops));
  return {
    thief: thief.name,
    lost: people.size,
    lostIfWatched: watched.size,
    ...(Number.isFinite(alerted) ? { alertedAfter: alerted } : {}),
    ...(Number.isFinite(suspended) ? { suspendedAfter: suspended } : {}),
    rules: [...new Set(alerts.map(({ rule, action }) => `${rule} (${action})`))],
  };
}

function honestOf(ledger: Ledger, { agents, days }: Scene): Honest {
  const alerts = ledger.alerts.filter(({ user }) => !user.includes("#"));
  const others = ledger.blocked.filter(({ slip }) => !slip);
  return {
    agents,
    months: (agents * days) / 30,
    days: ledger.honestDays,
    falseAlerts: alerts.map(({ rule, time, user, text }) => ({
      ...{ rule, user, text },
      day: Math.floor((time - START) / DAY),
    })),
    slipsStopped: ledger.blocked.length - others.length,
    blocked: others.length,
    blockedAsTightened: others.filter(({ tightened }) => tightened).length,
    suspended: ledger.suspended.size,
  };
}

function hoursAfter(time: number): number {
  return Math.round((time - THEFT_STARTS) / 360_000) / 10;
}
