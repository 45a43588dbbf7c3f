import { setTimeout as sleep } from "node:timers/promises";
import { redisOf } from "../app/state-places.ts";
import { readSessions, type SessionInfo } from "../fleet/session-registry.ts";
import { createLog, type Log } from "../log.ts";
import { createRedisStore } from "../meter/store-redis.ts";
import type { BudgetWindow } from "../policy/policy.ts";
import { peopleToTenths } from "../policy/price-units.ts";
import { readControl } from "./control-arguments.ts";
import { begin } from "./control-order.ts";
import { complain, STANDARD, type Streams } from "./streams.ts";
import { minute, printable, table } from "./text-table.ts";

const USAGE = `usage: sluice sessions [--redis URI] [--key-file FILE]

Lists who is connected to the proxies of a fleet, and how many people each user has read within a day.
`;

const COMMAND = { name: "sessions", usage: USAGE };

/** `sluice sessions`; resolves to the exit status. */
export async function sessions(
  args: readonly string[],
  streams: Streams = STANDARD,
  env: NodeJS.ProcessEnv = process.env,
): Promise<number> {
  const control = begin(COMMAND, args, streams, () => readControl(args, env, { user: false, why: false }));
  if (typeof control === "number") return control;
  const redis = redisOf(control.settings);
  if (redis === undefined) {
    const problem = "needs --redis and its secret: without them each proxy knows its own sessions only";
    return complain("sessions", { problem, status: 2 }, streams);
  }
  const log = createLog({ level: "silent" });
  try {
    const open = await readSessions({ ...redis, log });
    const people = await peopleRead(open, { ...redis, log });
    streams.output.write(listOf(open, people));
    return 0;
  } catch (error) {
    const problem = `Redis cannot be reached: ${error instanceof Error ? error.message || "no answer" : "no answer"}`;
    return complain("sessions", { problem, status: 1 }, streams);
  }
}

/** It only asks for a figure: nothing is limited by it. */
const LAST_DAY: BudgetWindow = { name: "1d", seconds: 86_400, what: "people", limit: 0, rule: "" };

/** Redis answered a moment ago: past this it does not count for us. */
const LONGEST_WAIT = 2_000;

/** People that each user has read within a day, as far as a budget counts them: user and database, number. */
async function peopleRead(
  open: readonly SessionInfo[],
  options: NonNullable<ReturnType<typeof redisOf>> & { readonly log: Log },
): Promise<ReadonlyMap<string, number | "?">> {
  let ready = () => {};
  const reached = new Promise<void>((resolve) => {
    ready = resolve;
  });
  const store = createRedisStore({ ...options, onReady: (is) => is && ready() });
  try {
    const read = new Map<string, number | "?">();
    if (open.length > 0) await Promise.race([reached, sleep(LONGEST_WAIT, undefined, { ref: false })]);
    for (const { database, user } of open) {
      const key = `${database}\0${user}`;
      if (read.has(key)) continue;
      const [use] = (await store.usage?.({ database, user, windows: [LAST_DAY] })) ?? [];
      read.set(key, use === undefined ? "?" : peopleToTenths(use.used, use.fraction ?? 0));
    }
    return read;
  } finally {
    await store.close();
  }
}

function listOf(open: readonly SessionInfo[], people: ReadonlyMap<string, number | "?">): string {
  const head = ["user", "role", "database", "address", "application", "since", "people in 1d"];
  const rows = open.map((session) => [
    printable(session.user),
    session.role,
    printable(session.database),
    session.address,
    printable(session.application),
    minute(session.since),
    people.get(`${session.database}\0${session.user}`) ?? "?",
  ]);
  return table([head, ...rows]);
}
