import { createHash } from "node:crypto";
import { once } from "node:events";
import { setImmediate as nextTurn } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { canaryToken } from "../../proxy/tokens/canary.ts";
import {
  bindMessage,
  describeMessage,
  executeMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { cstring, Frontend, int32, message, uint16 } from "../../proxy/wire/messages.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { bindTexts, fieldOf, type Message, query, Raw, valuesOf } from "../harness/raw-client.ts";
import { keyLine, sealerOf } from "../harness/token-keys.ts";
import { makeWorld, type World } from "./world.ts";

/*
 * Bytes that pass are lent to sockets, and the memory that they lie in is read into again. Where a server or a client
 * takes them slowly, they must still be what was sent.
 */

const POLICY = (app: string) => `
version: 1
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
roles:
  agent: { users: [anna], reads: all, writes: all, sees: [email], budget: { 1d: 1000000 } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, ${app} }
`;

let world: World;
const sluices = new Map<string, TestProxy>();
const sealer = sealerOf(keyLine(1, 7));
const SEALING = `
version: 1
token_canary: ${canaryToken(sealer)}
classes: { secret: { mask: redact, stored: token } }
tables:${[0, 1, 2, 3].map((place) => `\n  public.mine_${place}: { columns: { value: secret } }`).join("")}
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, budget: none }
  agent: { users: [anna], reads: all, writes: all, sees: [secret], bytes: 100MB }
`;

beforeAll(async () => {
  world = await makeWorld();
  await world.database.query("create table kept (n int, value text); grant all on kept to public");
  for (let place = 0; place < 4; place++)
    await world.database.query(
      `create table mine_${place} (n int, value text); grant all on mine_${place} to public`,
    );
  const settings = { maxMessage: 64 * 1024 * 1024 };
  const sealing = { policy: SEALING, tokens: sealer, settings };
  sluices.set("session, tokens", await startProxy(world.database, sealing));
  sluices.set("pool, tokens", await startProxy(world.database, { ...sealing, pool: { size: 2 } }));
  const watched = POLICY("watch: true, budget: { 1h: 1000000 }");
  for (const [name, policy] of [
    ["open", POLICY("budget: none")],
    ["watched", watched],
  ] as const) {
    sluices.set(`session, ${name}`, await startProxy(world.database, { policy, settings }));
    sluices.set(`pool, ${name}`, await startProxy(world.database, { policy, settings, pool: { size: 2 } }));
  }
});
afterAll(async () => {
  for (const sluice of sluices.values()) await sluice.close();
  await world?.close();
});

const ROWS = 25_000;
const digest = (text: string) => createHash("md5").update(text).digest("hex");
/** No two are alike: bytes that came from elsewhere show. */
const VALUES = Array.from({ length: ROWS }, (_, n) => digest(String(n)).repeat(1 + (n % 17)));
const DIGEST = digest(VALUES.join(""));
const DIGEST_OF = "md5(string_agg(value, '' order by n))";

const kept = async (): Promise<string> => {
  const { rows } = await world.database.query(`select count(*) || ' ' || ${DIGEST_OF} as what from kept`);
  return String(rows[0]?.what);
};

/** Small statements come before it, as in a session that has lived for a while. */
async function open(way: string, user: string): Promise<Raw> {
  await world.database.query("truncate kept");
  const client = await Raw.logIn(sluices.get(way)?.port ?? 0, user, world.database.database);
  for (let i = 0; i < 20; i++) {
    const statement = [parseMessage("", Buffer.from("select 1 as one")), bindMessage("", "")];
    await client.send(...statement, executeMessage("", 0), syncMessage).until("Z");
    await client.send(query("select 1 as one"), query("select 2 as two")).until("Z");
    await client.until("Z");
  }
  return client;
}

const faults = (messages: readonly Message[]) =>
  messages.flatMap(({ type, bytes }) => (type === "E" ? [fieldOf(bytes, "M")] : []));

const WAYS = [
  ["sees all", "helpdesk_app", "session, open"],
  ["is watched", "helpdesk_app", "session, watched"],
  ["is guarded", "anna", "session, open"],
  ["sees all", "helpdesk_app", "pool, open"],
  ["is watched", "helpdesk_app", "pool, watched"],
  ["is guarded", "anna", "pool, open"],
] as const;

describe.each(WAYS)("of a role that %s (%s, %s)", (_, user, way) => {
  test("rows that a server copies in slowly are the client's", async () => {
    const client = await open(way, user);
    const rows: Buffer[] = [];
    for (let n = 0; n < ROWS; n += 100) {
      const lines = VALUES.slice(n, n + 100).map((value, i) => `${n + i}\t${value}\n`);
      rows.push(message(Frontend.CopyData, Buffer.from(lines.join(""))));
    }
    const ends = [message(Frontend.CopyDone), query("select 3 as three")];
    client.send(query("copy kept from stdin"), ...rows, ...ends);
    const answers = [...(await client.until("Z")), ...(await client.until("Z"))];
    expect(faults(answers)).toEqual([]);
    client.socket.destroy();
    expect(await kept()).toBe(`${ROWS} ${DIGEST}`);
  });

  test("long parameters that a server takes slowly are the client's", async () => {
    const client = await open(way, user);
    const insert = `insert into kept select $1::int, $2::text`;
    const messages = [parseMessage("s", Buffer.from(insert))];
    const values = Array.from({ length: 25 }, (_, i) =>
      VALUES.slice(i * 1_000, (i + 1) * 1_000).join(i % 2 === 0 ? "" : " "),
    );
    for (const [n, value] of values.entries()) {
      const given = [String(n), value].flatMap((text) => [int32(text.length), Buffer.from(text)]);
      const counts = [cstring(""), cstring("s"), uint16(0), uint16(2)];
      messages.push(message(Frontend.Bind, ...counts, ...given, uint16(0)), executeMessage("", 0));
    }
    client.send(...messages, syncMessage);
    expect(faults(await client.until("Z"))).toEqual([]);
    client.socket.destroy();
    expect(await kept()).toBe(`25 ${digest(values.join(""))}`);
  });

  test("rows that a client takes slowly are the server's", async () => {
    const client = await open(way, user);
    const value = "repeat(md5(n::text), 1 + n % 17)";
    client.send(query(`select ${value} as value from generate_series(0, ${ROWS - 1}) as n order by n`));
    const pauses = setInterval(() => {
      client.socket.pause();
      void nextTurn().then(() => client.socket.resume());
    }, 1);
    const answers = await client.until("Z").finally(() => clearInterval(pauses));
    expect(faults(answers)).toEqual([]);
    const values = answers.flatMap(({ type, bytes }) => (type === "D" ? valuesOf(bytes) : []));
    expect(digest(values.join(""))).toBe(DIGEST);
    client.socket.destroy();
  });
});

/** Something of every kind that is long, or that makes others wait, told by a few numbers. */
interface Step {
  readonly kind: keyof typeof KINDS;
  readonly salt: number;
  readonly size: number;
}

const TEXT = VALUES.join("").slice(0, 4_000_000);
const random = (salt: number, length: number): string => {
  const start = salt % (TEXT.length - length);
  return TEXT.slice(start, start + length);
};

/** A guarded role has no longer ones. */
const LONGEST_TEXT = 200_000;

const asked = (text: string, values: readonly string[] = []): readonly Buffer[] => {
  return [
    parseMessage("", Buffer.from(text)),
    bindTexts("", values),
    describeMessage({ target: "portal", name: "" }),
    executeMessage("", 0),
  ];
};
const generated = (salt: number, size: number) =>
  `select g, repeat(md5((g + ${salt})::text), 1 + g % 40) as value from generate_series(1, ${size >> 9}) as g`;
/** Rows begin in one message and end in another. */
const copied = (salt: number, size: number): readonly Buffer[] => {
  const count = (size >> 8) + 1;
  const lines = Array.from({ length: count }, (_, n) => `${n}\t${random(salt + n, 200)}\n`);
  const rows = Buffer.from(lines.join(""));
  const parts: Buffer[] = [];
  for (let at = 0, n = 1; at < rows.length; n++) {
    const end = at + 1 + ((salt * n * 7919) % 60_000);
    parts.push(message(Frontend.CopyData, rows.subarray(at, end)));
    at = end;
  }
  return parts;
};

const KINDS = {
  little: (salt: number) => [query(`select ${salt} as little`)],
  rows: (salt: number, size: number) => [query(generated(salt, size))],
  "rows, extended": (salt: number, size: number) => [...asked(generated(salt, size)), syncMessage],
  people: () => [query("select id, email, name from customers order by id")],
  "people, extended": (salt: number) => [
    ...asked("select id, email, created_at from customers where id > $1 order by id", [String(salt % 500)]),
    syncMessage,
  ],
  "people, out": () => [query("copy (select id, email, name from customers order by id) to stdout")],
  value: (salt: number, size: number) => [
    query(`select '${random(salt, Math.min(size, LONGEST_TEXT))}' as value`),
  ],
  "value, extended": (salt: number, size: number) => [
    ...asked("select $1::text as value, length($1::text) as size", [random(salt, size)]),
    syncMessage,
  ],
  out: (salt: number, size: number) => [query(`copy (${generated(salt, size)}) to stdout`)],
  in: (salt: number, size: number, place: number) => [
    query("begin"),
    query(`copy mine_${place} from stdin`),
    ...copied(salt, size),
    message(Frontend.CopyDone),
    query(`select count(*) as rows, md5(string_agg(value, '' order by n)) as value from mine_${place}`),
    query("rollback"),
  ],
  "sealed, in and out": (salt: number, size: number, place: number) => [
    query("begin"),
    query(`copy mine_${place} from stdin`),
    ...copied(salt, size),
    message(Frontend.CopyDone),
    ...asked(`insert into mine_${place} values ($1, $2)`, ["-1", random(salt, size)]),
    syncMessage,
    query(`select n, value from mine_${place} order by n`),
    query(`copy (select n, value from mine_${place} order by n) to stdout`),
    query("rollback"),
  ],
  "wrong rows": (salt: number, size: number, place: number) => [
    query(`copy mine_${place} from stdin`),
    message(Frontend.CopyData, Buffer.from("no number\t\n")),
    message(Frontend.CopyData, Buffer.from(random(salt, size))),
    message(Frontend.CopyDone),
  ],
  fault: (salt: number, size: number) => [
    ...asked(generated(salt, size)),
    ...asked("select 1 / 0 as nothing"),
    ...asked("select $1::text as value", [random(salt, size)]),
    syncMessage,
  ],
  pipeline: (salt: number, size: number) => [
    ...Array.from({ length: 20 }, (_, i) =>
      asked("select $1::text as value", [random(salt + i, size >> 4)]),
    ).flat(),
    syncMessage,
  ],
} as const;

const ALL = Object.keys(KINDS) as readonly (keyof typeof KINDS)[];
/** Of tokens a server computes nothing. */
const NOT_OF_TOKENS = "in";

const steps = (kinds: typeof ALL) =>
  fc.array(
    fc.record({
      kind: fc.constantFrom(...kinds),
      salt: fc.integer({ min: 1, max: 1_000_000 }),
      size: fc.constantFrom(0, 100, 5_000, 70_000, 300_000, 1_300_000, 3_000_000),
    }),
    { minLength: 1, maxLength: 12 },
  );

/** All that comes, as one digest of each step, and how it was sent and read does not matter. */
async function run(
  port: number,
  user: string,
  [plan, pace]: readonly [readonly Step[], number],
  place: number,
) {
  const client = await Raw.logIn(port, user, world.database.database);
  const sent = plan.map(({ kind, salt, size }): readonly Buffer[] => KINDS[kind](salt, size, place));
  const bytes = Buffer.concat(sent.flat());
  const writing = write(client, bytes, pace);
  const turns = { left: true };
  const reading = pause(client, pace, turns);
  const seen: string[] = [];
  for (const [step, messages] of sent.entries()) {
    const [hash, faulty] = [createHash("md5"), [] as (string | undefined)[]];
    for (const { type, bytes: each } of await answersTo(client, messages)) {
      if (type === "E") faulty.push(fieldOf(each, "C"));
      else if (type !== "S" && type !== "N") hash.update(each);
    }
    seen.push([plan[step]?.kind, hash.digest("hex"), ...faulty].join(" "));
  }
  turns.left = false;
  await Promise.all([writing, reading]);
  client.socket.destroy();
  return seen;
}

/** As many ReadyForQuery as the server sends. */
async function answersTo(client: Raw, messages: readonly Buffer[]): Promise<readonly Message[]> {
  const ready = messages.filter(([type]) => type === Frontend.Query || type === Frontend.Sync).length;
  const answers: Message[] = [];
  for (let i = 0; i < ready; i++) answers.push(...(await client.until("Z")));
  return answers;
}

async function write(client: Raw, bytes: Buffer, pace: number): Promise<void> {
  for (let at = 0, n = 1; at < bytes.length; n++) {
    const end = at + 1 + ((n * 104_729 * (pace + 1)) % (pace % 3 === 0 ? 400_000 : 30_000));
    client.send(bytes.subarray(at, end));
    at = end;
    if (client.socket.writableNeedDrain) await once(client.socket, "drain");
    else if (n % 3 === 0) await nextTurn();
  }
}

/** A client that reads now and then. */
async function pause(client: Raw, pace: number, turns: { readonly left: boolean }): Promise<void> {
  while (turns.left) {
    if (pace % 2 === 1) client.socket.pause();
    for (let i = 0; i < 1 + (pace % 7); i++) await nextTurn();
    client.socket.resume();
    for (let i = 0; i < 3; i++) await nextTurn();
  }
}

const RUNS = process.env.SLUICE_BYTES_RUNS;
const SEED = process.env.SLUICE_BYTES_SEED;

/** What was answered wrongly before: rows that a message had begun when the server asked for them, and when it refused them. */
const FOUND: [[Step[], number][]][] = [
  [[[[{ kind: "sealed, in and out", salt: 33_341, size: 70_000 }], 0]]],
  [
    [
      [
        [
          { kind: "wrong rows", salt: 1, size: 300_000 },
          { kind: "little", salt: 1, size: 0 },
        ],
        10,
      ],
    ],
  ],
];

test.each([
  ...WAYS,
  ["sees all", "helpdesk_app", "session, tokens"],
  ["is guarded", "anna", "session, tokens"],
  ["sees all", "helpdesk_app", "pool, tokens"],
  ["is guarded", "anna", "pool, tokens"],
] as const)(
  "whatever sessions send and read at once, each gets the server's bytes: a role that %s (%s, %s)",
  async (_, user, way) => {
    const port = sluices.get(way)?.port ?? 0;
    const kinds = way.endsWith("tokens") ? ALL.filter((kind) => kind !== NOT_OF_TOKENS) : ALL;
    const sessions = fc.array(fc.tuple(steps(kinds), fc.nat({ max: 20 })), { minLength: 1, maxLength: 4 });
    await fc.assert(
      fc.asyncProperty(sessions, async (all) => {
        const through = (at: number) => Promise.all(all.map((plan, place) => run(at, user, plan, place)));
        const expected = await through(world.server.port);
        const seen = await through(port);
        expect(seen).toEqual(expected);
      }),
      {
        numRuns: Number(RUNS ?? 1 + FOUND.length),
        examples: FOUND,
        ...(SEED === undefined ? {} : { seed: Number(SEED) }),
      },
    );
  },
  RUNS === undefined ? 60_000 : 3_600_000,
);
