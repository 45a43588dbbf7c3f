import { setTimeout } from "node:timers/promises";
import postgres from "postgres";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { CounterStore } from "../../proxy/meter/meter.ts";
import { createMemoryStore } from "../../proxy/meter/store-memory.ts";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { cancelRequest } from "../../proxy/wire/startup.ts";
import { psql } from "../harness/postgres.ts";
import { type ProxyOptions, startProxy, type TestProxy } from "../harness/proxy.ts";
import { query, RawClient, shortOf } from "../harness/raw-client.ts";
import { makeWorld, type World } from "./world.ts";

/*
 * A copy waits for the counters before its commit. Whatever happens meanwhile: nothing is stored that is not counted, nothing is
 * stored twice, and nothing hangs.
 */

const POLICY = `
version: 1
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, watch: true, budget: { 1h: 50 } }
`;

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: POLICY });
  await world.database.query(`
    CREATE TABLE notes (id int, t text);
    GRANT ALL ON notes TO helpdesk_app;
  `);
});
afterEach(() => world.database.query("TRUNCATE notes"));
afterAll(() => world?.close());

const copy = (people: number) => `INSERT INTO notes SELECT id, email FROM customers WHERE id <= ${people}`;

async function stored(): Promise<number> {
  const { rows } = await world.database.query<{ n: number }>("SELECT count(*)::int AS n FROM notes");
  return rows[0]?.n ?? -1;
}

const counted = (sluice: TestProxy) =>
  sluice.events.reduce((sum, event) => sum + (event.kind === "statement" ? event.people : 0), 0);

/** Counters that answer when the test says so. */
function slowly() {
  const memory = createMemoryStore();
  let [isAsked, open] = [() => {}, () => {}];
  const asked = new Promise<void>((resolve) => {
    isAsked = resolve;
  });
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  const store: CounterStore = {
    ...memory,
    close: () => memory.close(),
    async charge(...batch) {
      isAsked();
      await opened;
      return memory.charge(...batch);
    },
  };
  return { store, asked, open };
}

async function withSluice(
  options: Partial<ProxyOptions>,
  work: (sluice: TestProxy) => Promise<void>,
): Promise<void> {
  const sluice = await startProxy(world.database, { policy: POLICY, ...options });
  try {
    await work(sluice);
  } finally {
    await sluice.close();
  }
}

const byQuery = (sql: string) => [query(sql)];
const byMessages = (sql: string) => [
  parseMessage("", Buffer.from(sql)),
  bindMessage("", ""),
  executeMessage("", 0),
  syncMessage,
];

/** No session of this server is in a transaction any more, or runs anything. */
async function allAtRest(): Promise<void> {
  const busy = async () => {
    const { rows } = await world.database.query<{ n: number }>(
      "SELECT count(*)::int AS n FROM pg_stat_activity WHERE usename = 'helpdesk_app' AND (state <> 'idle' OR backend_xmin IS NOT NULL)",
    );
    return rows[0]?.n;
  };
  await expect.poll(busy, { timeout: 20_000 }).toBe(0);
}

for (const pool of [undefined, { size: 1 }])
  for (const [how, messages] of [
    ["simple", byQuery],
    ["extended", byMessages],
  ] as const)
    describe(`${how}${pool === undefined ? "" : ", over a shared connection"}`, () => {
      const more = pool === undefined ? {} : { pool };

      test.each([30, 100])(
        "a client that goes while its copy of %i waits leaves nothing uncounted",
        async (people) => {
          const { store, asked, open } = slowly();
          await withSluice({ store, ...more }, async (sluice) => {
            const raw = await sluice.raw("helpdesk_app");
            raw.send(...messages(copy(people)));
            await asked;
            raw.socket.destroy();
            open();
            await allAtRest();
            const next = await sluice.connect("helpdesk_app");
            expect((await next.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
            await next.end();
            expect(await stored()).toBeLessThanOrEqual(people === 100 ? 0 : counted(sluice));
          });
        },
      );

      test.each([30, 100])("a cancel request while a copy of %i waits changes nothing", async (people) => {
        const { store, asked, open } = slowly();
        await withSluice({ store, ...more }, async (sluice) => {
          const raw = await sluice.raw("helpdesk_app");
          raw.send(...messages(copy(people)));
          await asked;
          const canceller = await RawClient.connect(sluice.port);
          canceller.send(cancelRequest(raw.key.readInt32BE(0), raw.key.subarray(4)));
          await canceller.closed();
          open();
          const answer = shortOf(await raw.until("Z"));
          const isKept = answer.includes("C(INSERT 0 30)");
          expect(await stored()).toBe(isKept ? 30 : 0);
          expect(answer).toMatch(people === 30 ? /C\(INSERT 0 30\)|E\(57014\)/ : /E\((53400|57014)\)/);
          raw.send(query("SELECT 1"));
          expect(shortOf(await raw.until("Z"))).toBe("T(?column?) D(1) C(SELECT 1) Z(I)");
          await expect.poll(() => counted(sluice)).toBe(isKept ? 30 : 0);
          raw.socket.destroy();
        });
      });

      test("the server's own time limits end no copy half counted", async () => {
        for (const limit of [
          "statement_timeout",
          "transaction_timeout",
          "idle_in_transaction_session_timeout",
        ]) {
          const { store, asked, open } = slowly();
          await withSluice({ store, ...more }, async (sluice) => {
            const raw = await sluice.raw("helpdesk_app");
            raw.send(query(`SET ${limit} = '200ms'`));
            await raw.until("Z");
            raw.send(...messages(copy(30)));
            await asked;
            // Past the limit: it is the server that measures.
            await world.database.query("SELECT pg_sleep(0.5)");
            open();
            const answer = await raw.until("Z").then(shortOf, (error: Error) => String(error));
            expect(await stored(), limit).toBe(answer.includes("C(INSERT 0 30)") ? 30 : 0);
            expect(await stored(), limit).toBeLessThanOrEqual(30);
            if ((await stored()) > 0) await expect.poll(() => counted(sluice)).toBe(30);
            raw.socket.destroy();
          });
          await world.database.query("TRUNCATE notes");
        }
      });
    });

test("two sessions of one account have the last of a budget once", async () => {
  const memory = createMemoryStore();
  const store: CounterStore = {
    ...memory,
    close: () => memory.close(),
    async charge(...batch) {
      await setTimeout(20);
      return memory.charge(...batch);
    },
  };
  await withSluice({ store }, async (sluice) => {
    const clients = await Promise.all(Array.from({ length: 4 }, () => sluice.connect("helpdesk_app")));
    const ends = await Promise.allSettled(clients.map((client) => client.query(copy(30))));
    expect(ends.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
    expect(await stored()).toBe(30);
    await Promise.all(clients.map((client) => client.end()));
  });
});

test("what is stored while the counters are away is on record, as what is shown then", async () => {
  const memory = createMemoryStore();
  const store: CounterStore = {
    ...memory,
    ready: false,
    close: () => memory.close(),
    charge: async () => ({ kind: "unreachable" }),
  };
  await withSluice({ store }, async (sluice) => {
    const client = await sluice.connect("helpdesk_app");
    expect((await client.query(copy(100))).rowCount).toBe(100);
    await client.end();
    await expect.poll(() => counted(sluice)).toBe(100);
    expect(await stored()).toBe(100);
  });
});

test("counters that have forgotten everything meanwhile count from the start", async () => {
  let memory = createMemoryStore();
  const store: CounterStore = {
    ...memory,
    close: () => memory.close(),
    charge: (...batch) => memory.charge(...batch),
  };
  await withSluice({ store }, async (sluice) => {
    const client = await sluice.connect("helpdesk_app");
    await client.query(copy(40));
    await client.query("TRUNCATE notes");
    memory = createMemoryStore();
    await client.query(copy(40));
    await expect(client.query(copy(40))).rejects.toMatchObject({ code: "53400" });
    expect(await stored()).toBe(40);
    await client.end();
    await expect.poll(() => counted(sluice)).toBe(80);
  });
});

test("a policy that observes holds nothing back, and has everybody on record", async () => {
  await withSluice({ policy: `mode: observe\n${POLICY}` }, async (sluice) => {
    const client = await sluice.connect("helpdesk_app");
    await client.query(`${copy(100)}; SELECT 1`);
    await client.query("SELECT count(set_config('app.x' || id, email, false)) FROM customers");
    await client.end();
    expect(await stored()).toBe(100);
    await expect.poll(() => counted(sluice)).toBeGreaterThanOrEqual(100);
  });
});

for (const pool of [undefined, { size: 1 }])
  test(`postgres.js and psql are told that nothing was stored${pool === undefined ? "" : ", over a shared connection"}`, async () => {
    await withSluice(pool === undefined ? {} : { pool }, async (sluice) => {
      const sql = postgres(sluice.uri("helpdesk_app"), { max: 1, onnotice: () => {} });
      expect((await sql.unsafe(copy(10))).count).toBe(10);
      await expect(sql.unsafe(copy(100))).rejects.toMatchObject({
        code: "53400",
        message: expect.stringContaining("nothing was stored"),
        hint: expect.stringContaining("Store fewer rows"),
      });
      // Postgres.js pipelines what is asked for at once.
      const both = await Promise.allSettled([
        sql`INSERT INTO notes SELECT id, email FROM customers WHERE id <= ${100}`,
        sql`SELECT 1 AS one`,
      ]);
      expect(both).toMatchObject([{ status: "rejected" }, { status: "fulfilled", value: [{ one: 1 }] }]);
      await expect(
        sql.begin(async (within) => {
          await within`INSERT INTO notes VALUES (0, 'gone with the rest')`;
          await within.unsafe(copy(100));
        }),
      ).rejects.toMatchObject({ code: "53400" });
      await sql.end();
      const { stdout, stderr } = await psql(["-v", "VERBOSITY=verbose"], {
        uri: sluice.uri("helpdesk_app"),
        input: `${copy(5)};\n${copy(100)};\nSELECT 'goes on';\n\\set ON_ERROR_ROLLBACK on\nBEGIN;\n${copy(2)};\n${copy(100)};\nCOMMIT;\n`,
      });
      expect(stdout).toContain("goes on");
      expect(stderr.match(/ERROR: {2}53400/g)).toHaveLength(2);
      expect(stderr).toMatch(/nothing was stored/);
      expect(await stored()).toBe(17);
    });
  });
