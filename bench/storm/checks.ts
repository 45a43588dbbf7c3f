import pg from "pg";
import { auditKeys } from "../../proxy/audit/audit-keys.ts";
import { linesOf, listSegments, readSegments } from "../../proxy/audit/segments.ts";
import { verifyLog } from "../../proxy/audit/verify-log.ts";
import { deriveKeys } from "../../proxy/keys/secret.ts";
import { createLog } from "../../proxy/log.ts";
import { accountOf, type CounterStore } from "../../proxy/meter/meter.ts";
import { createRedisStore } from "../../proxy/meter/store-redis.ts";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import { isRefusal, roleFor } from "../../proxy/policy/roles.ts";
import { DATABASE } from "../world.ts";
import { controlUri, type Fleet } from "./fleet.ts";
import type { Ledger, SessionRecord } from "./ledger.ts";
import { GRACE_SHARE, kindOf, NAME_MASKS, policy, SMALL_BUDGET } from "./world.ts";

/** One thing that was looked at: what it says, and what is wrong with it. */
export interface Checked {
  readonly what: string;
  readonly figure: string;
  /** A machine on which nothing gets its turn fails it, too. */
  readonly pace?: true;
  readonly problems: readonly string[];
}

/** What was committed is there, what was rolled back is not, and no account lost a penny. */
export async function checkDatabase(fleet: Fleet, { committed, rolledBack }: Ledger): Promise<Checked> {
  const client = new pg.Client({ connectionString: controlUri(fleet) });
  await client.connect();
  try {
    const notes = await client.query<{ marker: string }>("SELECT marker FROM notes");
    const sum = await client.query<{ sum: string }>("SELECT sum(balance) FROM accounts");
    const there = new Set(notes.rows.map(({ marker }) => marker));
    return {
      what: "writes that were told committed · rolled back",
      figure: `${committed.length} · ${rolledBack.length}`,
      problems: [
        ...committed
          .filter((marker) => !there.has(marker))
          .map((marker) => `${marker} was committed, and is not there`),
        ...rolledBack
          .filter((marker) => there.has(marker))
          .map((marker) => `${marker} was rolled back, and is there`),
        ...(sum.rows[0]?.sum === "0" ? [] : [`all accounts together hold ${sum.rows[0]?.sum}`]),
      ],
    };
  } finally {
    await client.end();
  }
}

/** How many processes served, and how many of them were ended. */
export interface Processes {
  readonly lives: number;
  readonly ended: number;
}

/** No user received more people than Redis has counted for them, nor more than their budget allows. */
export async function checkCounters(
  fleet: Fleet,
  { sessions }: Ledger,
  { lives, ended }: Processes,
): Promise<Checked> {
  const received = new Map<string, Set<number>>();
  for (const { user, people, copied } of sessions) {
    const all = received.get(user) ?? new Set();
    for (const id of [...people, ...copied]) all.add(id);
    received.set(user, all);
  }
  const counted = await usedBy([...received.keys()], fleet);
  const problems: string[] = [];
  for (const [user, people] of received) {
    const used = counted.get(user) ?? 0;
    // What a process lent while Redis was away, and had not counted in when it ended, is lost.
    if (people.size > used + lent(user, ended))
      problems.push(`${user} received ${people.size} people, Redis has counted ${used}`);
    const allowed = allowance(user, lives);
    if (people.size > allowed)
      problems.push(`${user} received ${people.size} people, ${allowed} are allowed`);
  }
  const sum = (figures: Iterable<number>) => [...figures].reduce((total, each) => total + each, 0);
  const figure = `${sum([...received.values()].map((people) => people.size))} · ${sum(counted.values())}`;
  return { what: "people received · counted, users summed up", figure, problems };
}

function allowance(user: string, lives: number): number {
  const isLimited = kindOf(user) === "thrifty" || kindOf(user) === "lenient";
  return isLimited ? SMALL_BUDGET + lent(user, lives) : Number.POSITIVE_INFINITY;
}

/** docs/metering.md, "When Redis is away": each process may lend a share. */
function lent(user: string, processes: number): number {
  return kindOf(user) === "lenient" ? processes * GRACE_SHARE * SMALL_BUDGET : 0;
}

async function usedBy(users: readonly string[], fleet: Fleet): Promise<ReadonlyMap<string, number>> {
  const compiled = compilePolicies([{ name: "storm.yaml", text: policy(NAME_MASKS.first) }]);
  if (!compiled.ok) throw new Error(JSON.stringify(compiled.problems));
  const own = compiled.policies.forDatabase(DATABASE);
  const store = await new Promise<CounterStore>((resolve) => {
    const opened = createRedisStore({
      url: fleet.redis.url,
      key: deriveKeys(Buffer.from(fleet.key, "hex")).counters,
      log: createLog({ level: "silent" }),
      onReady: (isReady) => isReady && resolve(opened),
    });
  });
  const used = new Map<string, number>();
  for (const user of users) {
    const role = roleFor(own, user, "127.0.0.1");
    if (isRefusal(role)) throw new Error(role.message);
    const uses = await store.usage?.(accountOf(role, { database: DATABASE, user, address: "127.0.0.1" }));
    used.set(user, uses?.[0]?.used ?? 0);
  }
  await store.close();
  return used;
}

/** The chains hold; each answered read has its event, and each person whom a session received is in one of its own. */
export async function checkAudit(fleet: Fleet, { sessions }: Ledger): Promise<readonly Checked[]> {
  const keys = auditKeys(deriveKeys(Buffer.from(fleet.key, "hex")).audit);
  const trusted = new Map([[keys.id, keys.publicKey]]);
  const chains: string[] = [];
  const logged = new Map<string, Logged>();
  let lines = 0;
  for (const { audit } of fleet.instances) {
    const reports = await verifyLog(audit, trusted, []);
    chains.push(
      ...reports.flatMap(({ writer, problem }) => (problem === undefined ? [] : [`${writer}: ${problem}`])),
    );
    for await (const { content } of readSegments(await listSegments(audit))) {
      if (content instanceof Error) throw content;
      for (const { bytes } of linesOf(content)) {
        lines++;
        const event = JSON.parse(bytes.toString()) as Event;
        if (event.unmapped?.kind === "events lost") chains.push(`events lost: ${bytes.toString()}`);
        note(logged, event);
      }
    }
  }
  const reads = sessions.flatMap(({ answered }) => Object.values(answered));
  return [
    { what: "lines of the audit log, all chains whole", figure: String(lines), problems: chains },
    {
      what: "guarded reads answered, each with its event",
      figure: String(reads.reduce((sum, each) => sum + each, 0)),
      problems: sessions.flatMap((session) =>
        missing(session, logged.get(session.application), (id) =>
          keys.hashSubject("public.people.id", String(id)),
        ),
      ),
    },
  ];
}

interface Event {
  readonly actor?: { readonly app_name?: string };
  readonly query_info?: { readonly query_string?: string };
  readonly unmapped?: { readonly kind?: string; readonly subjects?: readonly string[] };
}

/** What the log has of a session. */
interface Logged {
  readonly events: Map<string, number>;
  readonly people: Set<string>;
}

function note(logged: Map<string, Logged>, { actor, query_info: query, unmapped }: Event): void {
  const text = query?.query_string;
  if (text === undefined || unmapped === undefined) return;
  const work = /people as (\w+)/i.exec(text)?.[1] ?? (/^fetch/i.test(text) ? "fetch" : undefined);
  if (work === undefined) return;
  const application = actor?.app_name ?? "";
  const own = logged.get(application) ?? { events: new Map(), people: new Set() };
  logged.set(application, own);
  if (unmapped.kind === "statement") own.events.set(work, (own.events.get(work) ?? 0) + 1);
  for (const subject of unmapped.subjects ?? []) own.people.add(subject);
}

function missing(
  { application, answered, people }: SessionRecord,
  logged: Logged | undefined,
  hash: (id: number) => string,
): readonly string[] {
  const events = Object.entries(answered).flatMap(([work, times]) => {
    const found = logged?.events.get(work) ?? 0;
    return found >= times ? [] : [`${application}: ${times} answers to ${work}, ${found} events`];
  });
  const unknown = [...people].filter((id) => logged?.people.has(hash(id)) !== true);
  return unknown.length === 0
    ? events
    : [...events, `${application}: person ${unknown.join(", ")} in no event`];
}
