import { setTimeout } from "node:timers/promises";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  queryMessage,
  syncMessage,
} from "../proxy/wire/frontend-messages.ts";
import { cstring, Frontend, int32, message, uint16 } from "../proxy/wire/messages.ts";
import { table } from "./figures.ts";
import type { Reached } from "./point-queries.ts";
import { usageOf } from "./processes.ts";
import { openClient } from "./raw-client.ts";

/** What one client does at once. */
export interface Burden {
  readonly what: string;
  readonly user: "app" | "narrow" | "guarded" | "watched";
  /** Made when it is wanted: some hold a hundred megabytes. */
  readonly messages: () => readonly Buffer[];
}

/** Where a client connects, and whose memory is looked at. */
export interface FairTarget {
  readonly name: string;
  readonly port: number;
  readonly pid: number;
  /** Where it is asked for. */
  readonly password?: string;
  /** The users that it knows. */
  readonly users: readonly Burden["user"][];
}

export interface Fair {
  readonly what: string;
  readonly through: string;
  /** Of another session's `select 1`, in milliseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly most: number;
  /** How long it took once, in seconds, and how many megabytes the process has grown by. */
  readonly seconds: number;
  readonly grown: number;
}

const MEGABYTE = 1024 * 1024;
/** Another session's p99 may be so long (milliseconds). */
const LIMIT = 20;
/** A load that is over sooner is given again, so that a p99 is not one wait (milliseconds). */
const LEAST = 3_000;
/** How often memory is looked at (milliseconds). */
const LOOK_EVERY = 200;

const text = (sql: string) => Buffer.from(sql);
const repeated = (count: number, each: readonly Buffer[]) =>
  Buffer.concat(Array.from({ length: count }, () => each).flat());

export const BURDENS: readonly Burden[] = [
  {
    what: "200,000 Bind and Execute before one Sync",
    user: "app",
    messages: () => [
      parseMessage("", text("select 1")),
      repeated(100_000, [bindMessage("", ""), executeMessage("", 0)]),
      syncMessage,
    ],
  },
  {
    what: "20,000 wrong texts, each with its Sync",
    user: "app",
    messages: () => [repeated(20_000, [parseMessage("", text("no sql")), syncMessage])],
  },
  {
    what: "30 INSERTs of 250 kB",
    user: "app",
    messages: () => Array.from({ length: 30 }, (_, i) => queryMessage(text(longInsert(i)))),
  },
  {
    what: "30 texts of 200 kB, guarded",
    user: "guarded",
    messages: () => Array.from({ length: 30 }, (_, i) => queryMessage(text(longSelect(i)))),
  },
  {
    what: "30 texts of 200 kB, watched",
    user: "watched",
    messages: () => Array.from({ length: 30 }, (_, i) => queryMessage(text(longSelect(i)))),
  },
  {
    what: "100 texts too deep for the parser",
    user: "guarded",
    messages: () =>
      Array.from({ length: 100 }, (_, i) => queryMessage(text(`select ${i}${"+1".repeat(30_000)}`))),
  },
  {
    what: "COPY of 200 MB in",
    user: "app",
    messages: () => {
      const row = text("1\t2\ta text of some length\n");
      const data = message(Frontend.CopyData, repeated(3_000, [row]));
      const copy = queryMessage(text("copy scribble from stdin"));
      return [copy, repeated(2_500, [data]), message(Frontend.CopyDone)];
    },
  },
  {
    what: "a Bind of 100 MB",
    user: "app",
    messages: () => {
      const value = Buffer.alloc(100 * MEGABYTE, "x");
      const bind = [cstring(""), cstring(""), uint16(0), uint16(1), int32(value.length), value, uint16(0)];
      const sql = text("select length($1::text)");
      return [parseMessage("", sql), message(Frontend.Bind, ...bind), executeMessage("", 0), syncMessage];
    },
  },
  {
    what: "100 texts of 30 kB",
    user: "app",
    messages: () => Array.from({ length: 100 }, (_, i) => queryMessage(text(longSelect(i, 700)))),
  },
  {
    what: "a text of 60 MB",
    user: "app",
    messages: () => [queryMessage(text(`select length('${"x".repeat(60 * MEGABYTE)}')`))],
  },
  {
    what: "2,000 wrong texts, guarded",
    user: "guarded",
    messages: () => [repeated(2_000, [parseMessage("", text("no sql")), syncMessage])],
  },
  {
    what: "10 lists of 10,000 in IN, guarded",
    user: "guarded",
    messages: () =>
      Array.from({ length: 10 }, (_, salt) => {
        const ids = Array.from({ length: 10_000 }, (_, i) => i + salt).join(",");
        return queryMessage(text(`select id, name from people where id in (${ids})`));
      }),
  },
  {
    what: "20 texts of 1,600 columns, guarded",
    user: "guarded",
    messages: () =>
      Array.from({ length: 20 }, (_, i) => {
        const columns = Array.from({ length: 1_600 }, (_, n) => `name as n${n}`).join(", ");
        return queryMessage(text(`select ${columns} from people where id < ${i + 20}`));
      }),
  },
  ...(["guarded", "watched"] as const).map((user) => ({
    what: `5 results of 20,000 people, ${user}`,
    user,
    messages: () =>
      Array.from({ length: 5 }, (_, i) =>
        queryMessage(text(`select id, name, email from people where id > ${i * 20_000} limit 20000`)),
      ),
  })),
  {
    what: "5 rows of 10 MB, masked and counted",
    user: "guarded",
    messages: () => [queryMessage(text("select id, repeat(name, 10000000) from people limit 5"))],
  },
  {
    what: "a row of 200 MB, counted, with bytes: 1MB",
    user: "narrow",
    messages: () => [queryMessage(text("select id, repeat(name, 20000000) from people limit 1"))],
  },
];

function longInsert(salt: number): string {
  const rows = Array.from({ length: 9_000 }, (_, i) => `(${i}, ${salt}, 'a text of some length')`);
  return `insert into scribble (a, b, c) values ${rows.join(", ")}`;
}

function longSelect(salt: number, length = 7_000): string {
  const conditions = Array.from({ length }, (_, i) => `(id = ${i} and id <> ${-salt - 1})`);
  return `select id, name from people where ${conditions.join(" or ")}`;
}

/** Another session's waiting while one client does each of these, through one target after the other. */
export async function measureFairness(
  targets: readonly FairTarget[],
  burdens = BURDENS,
): Promise<readonly Fair[]> {
  const fairs: Fair[] = [];
  for (const burden of burdens) {
    for (const target of targets.filter(({ users }) => users.includes(burden.user)))
      fairs.push(await measure(burden, target));
  }
  return fairs;
}

async function measure({ what, user, messages }: Burden, target: FairTarget): Promise<Fair> {
  const { name, port, pid, password } = target;
  const client = await openClient(port, user, password);
  const other = await openClient(port, "app", password);
  const sent = Buffer.concat([...messages(), queryMessage(text("select 'the end'"))]);
  const before = (await usageOf(pid)).resident;
  let [isOver, most, looked, times] = [false, before, performance.now(), 1];
  const began = performance.now();
  const ended = new Promise<void>((resolve, reject) => {
    client.socket.on("data", (bytes: Buffer) => {
      if (!bytes.includes("the end")) return;
      if (performance.now() - began >= LEAST) return resolve();
      times++;
      client.socket.write(sent);
    });
    client.socket.once("close", () => reject(new Error(`${what}: the session through ${name} was ended`)));
  }).finally(() => {
    isOver = true;
  });
  client.socket.write(sent);
  const waits: number[] = [];
  while (!isOver) {
    const asked = performance.now();
    other.ask("select 1");
    await other.ready();
    waits.push(performance.now() - asked);
    // Reading /proc takes the processor from those who are measured.
    if (performance.now() - looked >= LOOK_EVERY) {
      most = Math.max(most, (await usageOf(pid)).resident);
      looked = performance.now();
    }
    await setTimeout(5);
  }
  await ended;
  const seconds = (performance.now() - began) / 1000 / times;
  client.socket.destroy();
  other.socket.destroy();
  waits.sort((a, b) => a - b);
  const at = (share: number) => waits[Math.min(Math.floor(waits.length * share), waits.length - 1)] ?? 0;
  return {
    ...{ what, through: name, seconds },
    ...{ p50: at(0.5), p99: at(0.99), most: at(1), grown: (most - before) / 1024 },
  };
}

export function describeFairness(fairs: readonly Fair[]): string {
  const rows = fairs.map(({ what, through, p50, p99, most, seconds, grown }) => [
    ...[what, through, p50.toFixed(1), p99.toFixed(1), most.toFixed(0)],
    ...[seconds.toFixed(1), grown.toFixed(0)],
  ]);
  return table(["one client", "through", "another's p50, ms", "p99", "most", "seconds", "MB more"], rows);
}

export function judgeFairness(fairs: readonly Fair[]): readonly Reached[] {
  return fairs
    .filter(({ through }) => through !== "direct")
    .map(({ what, through, p99 }) => ({
      what: `${through}: another session's p99 during ${what}`,
      target: `≤ ${LIMIT} ms`,
      reached: `${p99.toFixed(1)} ms`,
      holds: p99 <= LIMIT,
    }));
}
