import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { auditKeys } from "../proxy/audit/audit-keys.ts";
import type { AuditLog, StatementEvent } from "../proxy/audit/event.ts";
import { openFileLog } from "../proxy/audit/file-log.ts";
import type { Period } from "../proxy/audit/readings.ts";
import { listSegments } from "../proxy/audit/segments.ts";
import { hashesOfOne } from "../proxy/audit/subject-list.ts";
import { verifyLog } from "../proxy/audit/verify-log.ts";
import { whoRead } from "../proxy/audit/who-read.ts";
import { createLog } from "../proxy/log.ts";

/*
 * The case that Sluice must win, as a log: 300 agents over 90 days, one of whom takes 68,000 customers out of
 * 12 million, 750 a day. A hundred of them turn up for sale. Writes the log with the real writer, asks who
 * read them, and prints times, sizes and the thief's rank. Compile and run: `npx tsc -p tsconfig.json --noEmit
 * false --rootDir . --outDir node_modules/.cache/bench && node node_modules/.cache/bench/bench/audit.js`.
 */

const KEY = Buffer.alloc(32, 1);
const NAMESPACE = "public.customers.id";
const DAY = 86_400_000;
const START = Date.UTC(2026, 0, 5);
const POPULATION = 12_000_000;
/** A tenth of the customers make most of the calls, so that honest agents read the same people too. */
const CALLERS = 1_200_000;
const THIEF = "agent137";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: "1" },
    agents: { type: "string", default: "300" },
    days: { type: "string", default: "90" },
    keep: { type: "string" },
  },
});
const random = seeded(Number(values.seed));
const below = (limit: number) => Math.floor(random() * limit);

/** One agent's day: heavy-tailed, a few dozen people, one or two each statement. */
function* honestDay(): Generator<readonly number[]> {
  const people = Math.min(250, Math.round(18 + 14 * -Math.log(1 - random())));
  for (let read = 0; read < people; ) {
    const together = random() < 0.85 ? 1 : 2 + below(4);
    yield Array.from({ length: together }, customer);
    read += together;
  }
}

function customer(): number {
  return random() < 0.7 ? below(CALLERS) : below(POPULATION);
}

function* thiefDay(taken: number[]): Generator<readonly number[]> {
  for (let read = 0; read < 756; read += 12) {
    const people = Array.from({ length: 12 }, () => below(POPULATION));
    taken.push(...people);
    yield people;
  }
}

async function fill(
  log: AuditLog,
  agents: number,
  days: number,
): Promise<{ events: number; taken: number[] }> {
  const taken: number[] = [];
  let events = 0;
  for (let day = 0; day < days; day++) {
    now = START + day * DAY;
    for (let agent = 0; agent < agents; agent++) {
      const user = `agent${agent}`;
      // Five of seven days; the thief never rests.
      const works = (agent + day) % 7 < 5;
      if (works) for (const people of honestDay()) log.write(reading(log, user, agent, people, events++));
      if (user === THIEF)
        for (const people of thiefDay(taken)) log.write(reading(log, user, agent, people, events++));
    }
    await log.flush();
  }
  return { events, taken };
}

function reading(
  log: AuditLog,
  user: string,
  agent: number,
  people: readonly number[],
  number: number,
): StatementEvent {
  return {
    kind: "statement",
    time: now + 8 * 3_600_000 + (number % 28_800) * 1000,
    session: `${agent.toString(16).padStart(4, "0")}${(number >> 6).toString(16).padStart(8, "0")}`,
    user,
    role: "agent",
    database: "support",
    client: `10.2.${agent >> 6}.${agent & 63}`,
    application: "helpdesk",
    command: "SELECT",
    statement:
      "SELECT c.id, c.name, c.email, t.subject FROM customers c JOIN tickets t ON t.customer_id = c.id WHERE c.id = $1",
    relations: ["public.customers", "public.tickets"],
    masked: ["email", "text"],
    lookups: 0,
    decision: "mask",
    policy: "3f9a1c2e",
    rows: people.length,
    bytes: people.length * 90,
    subjects: people.map((person) => log.hashSubject(NAMESPACE, String(person))),
    people: people.length,
    duration: 2,
  };
}

let now = START;

async function main(): Promise<void> {
  const folder = values.keep ?? (await mkdtemp(join(tmpdir(), "sluice-bench-audit-")));
  const log = await openFileLog({
    folder,
    key: KEY,
    log: createLog({ level: "error" }),
    onLost: (events) => report("LOST", events),
    now: () => now,
    maxPending: 1024 * 1024 * 1024,
    anchor: () => {},
  });
  const began = performance.now();
  const { events, taken } = await fill(log, Number(values.agents), Number(values.days));
  const seconds = (performance.now() - began) / 1000;
  await log.close();
  report("events", events, `${Math.round(events / seconds)} a second, with fdatasync each day`);
  const sizes = await Promise.all(
    (await listSegments(folder)).map(async ({ path }) => (await stat(path)).size),
  );
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  report(
    "on disk",
    `${(bytes / 1e6).toFixed(0)} MB`,
    `${Math.round(bytes / events)} bytes an event, compressed`,
  );
  await askWhoRead(folder, taken);
  await timed("verify", async () => {
    const [one] = await verifyLog(folder, trusted(), []);
    return `${one?.lines} lines, ${one?.problem ?? "nothing wrong"}`;
  });
  await measureCommits();
  if (values.keep === undefined) await rm(folder, { recursive: true });
}

/** A hundred different ones of the stolen; each time others. */
async function askWhoRead(folder: string, taken: readonly number[]): Promise<void> {
  const leaked = new Set<number>();
  while (leaked.size < 100) leaked.add(taken[below(taken.length)] ?? 0);
  const ids = [...leaked].map(String);
  await writeFile(join(folder, "leaked.csv"), `id\n${ids.join("\n")}\n`);
  const keys = [auditKeys(KEY)];
  const leakedPeople = ids.map((id) => ({ hashes: hashesOfOne(id, NAMESPACE, keys), stratum: 0 }));
  const controls = Array.from({ length: 50_000 }, () => String(below(POPULATION)))
    .filter((id) => !leaked.has(Number(id)))
    .map((id) => ({ hashes: hashesOfOne(id, NAMESPACE, keys), stratum: 0 }));
  const ask = (period: Period) =>
    whoRead({ folder, period, keys, counted: { needs: [], unexplainedOnly: false } }, async () => ({
      ...{ leaked: leakedPeople, controls, tables: [] },
    }));
  await timed("who-read", async () => {
    const answer = await ask({ since: 0, until: Number.POSITIVE_INFINITY });
    const [first, second] = answer.suspects;
    return (
      `${answer.readings} readings, named: ${answer.sources.map(({ user }) => user).join(", ")} (it was ${THIEF}); ` +
      `first: ${first?.user} ${first?.leaked}/100 chance ${first?.chance.toExponential(1)}; ` +
      `second: ${second?.user} ${second?.leaked}/100 chance ${second?.chance.toExponential(1)}`
    );
  });
  await timed("who-read, one week", async () => {
    const answer = await ask({ since: START + 30 * DAY, until: START + 37 * DAY });
    return `${answer.readings} readings, first ${answer.suspects[0]?.user}`;
  });
}

/** How long a statement waits for its event, by how many sessions wait at a time. */
async function measureCommits(): Promise<void> {
  for (const sessions of [1, 16, 128]) {
    const folder = await mkdtemp(join(tmpdir(), "sluice-bench-audit-"));
    const log = await openFileLog({
      folder,
      key: KEY,
      log: createLog({ level: "error" }),
      onLost: () => {},
      anchor: () => {},
    });
    const waits: number[] = [];
    const until = performance.now() + 1_500;
    const session = async (number: number) => {
      while (performance.now() < until) {
        const start = performance.now();
        log.write(reading(log, "anna", 1, [number], number));
        await log.durable();
        waits.push(performance.now() - start);
      }
    };
    await Promise.all(Array.from({ length: sessions }, (_, i) => session(i)));
    await log.close();
    await rm(folder, { recursive: true });
    waits.sort((a, b) => a - b);
    const at = (share: number) => `${(waits[Math.floor(waits.length * share)] ?? 0).toFixed(2)} ms`;
    report(
      `${sessions} sessions`,
      `${Math.round(waits.length / 1.5)} durable events a second`,
      `p50 ${at(0.5)}, p99 ${at(0.99)}`,
    );
  }
}

function trusted() {
  const keys = auditKeys(KEY);
  return new Map([[keys.id, keys.publicKey]]);
}

async function timed(what: string, work: () => Promise<string>): Promise<void> {
  const start = performance.now();
  const result = await work();
  report(what, `${((performance.now() - start) / 1000).toFixed(2)} s`, result);
}

function report(what: string, ...figures: readonly (string | number)[]): void {
  process.stdout.write(`${what.padEnd(20)}${figures.join("  ")}\n`);
}

/** Mulberry32: the same log for the same seed. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

await main();
