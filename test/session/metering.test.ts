import { Socket } from "node:net";
import pg from "pg";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import type { Account, Batch, CounterStore, Grant } from "../../proxy/meter/meter.ts";
import {
  bindMessage,
  describeMessage,
  executeMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { Frontend, message, uint16 } from "../../proxy/wire/messages.ts";
import { fieldOf, query, type Raw, shortOf, valuesOf } from "../harness/raw-client.ts";
import { makeWorld, type World } from "./world.ts";

/** Answers when the test says so, and remembers what it was asked. */
class SlowStore implements CounterStore {
  readonly ready = true;
  readonly asked: Batch[] = [];
  answer: (batch: Batch, account: Account) => Grant | Promise<Grant> = () => ({ kind: "all" });

  async charge(account: Account, batch: Batch): Promise<Grant> {
    this.asked.push(batch);
    return this.answer(batch, account);
  }

  async uses() {
    return [];
  }

  async close(): Promise<void> {}
}

let world: World;
let cleo: Raw;
const store = new SlowStore();

beforeAll(async () => {
  world = await makeWorld("npm", { store });
});
afterAll(async () => {
  await world?.close();
});
beforeEach(async () => {
  cleo?.socket.destroy();
  cleo = await world.sluice.raw("cleo");
  store.asked.length = 0;
  store.answer = () => ({ kind: "all" });
  world.sluice.statements();
});

const parse = (name: string, sql: string) => parseMessage(name, Buffer.from(sql));
const ONE = "T(one) D(1) C(SELECT 1)";
/** No test reads a customer whom another has read: those counted a moment ago are not asked about again. */
let next = 1;
function people(count: number): { readonly where: string; readonly ids: readonly string[] } {
  const ids = Array.from({ length: count }, () => String(next++));
  return { where: `id between ${ids[0]} and ${ids.at(-1)} order by id`, ids };
}

/** As a budget does that has room for so many more. */
function room(rows: number) {
  return (batch: Batch, { windows: [window] }: Account): Grant => {
    if (window === undefined) throw new Error("no window");
    return batch.rows <= rows
      ? { kind: "all" }
      : { kind: "part", rows, window, used: window.limit, freesAt: Date.UTC(2030, 0) };
  };
}

describe("a row that leaves somebody out", () => {
  const told = () => new Set(store.asked.flatMap((batch) => batch.people).filter((each) => each !== "")).size;

  test.each([
    "FROM generate_series(1, 20) v LEFT JOIN customers c ON c.id = v AND c.country = 'nowhere' WHERE c.id IS NULL",
    "FROM customers c RIGHT JOIN generate_series(1, 20) v ON c.id = v AND c.country = 'nowhere' WHERE c.id IS NULL",
    "FROM customers c FULL JOIN (SELECT v FROM generate_series(1, 20) v) s ON c.id = -v WHERE c.id IS NULL",
    "FROM generate_series(1, 20) v LEFT JOIN (customers c JOIN tickets t ON t.customer_id = c.id) ON c.id = -v",
    "FROM generate_series(1, 20) v LEFT JOIN (tickets t LEFT JOIN customers c ON c.id = t.customer_id) ON c.id = -v",
    "FROM tickets t CROSS JOIN generate_series(1, 19) v LEFT JOIN customers c ON c.id = v AND c.country = 'nowhere' WHERE t.id = 7",
    "FROM (SELECT v AS id FROM generate_series(-20, -1) v) s LEFT JOIN customers c USING (id)",
    "FROM (SELECT v AS id FROM generate_series(-20, -1) v) s NATURAL LEFT JOIN customers c",
  ])("names them all the same: %s", async (from) => {
    await cleo.send(query(`SELECT 1 ${from}`)).until("Z");
    expect(told()).toBe(20);
  });

  test.each([
    [
      "customers c LEFT JOIN tickets t ON t.customer_id = c.id AND t.status = 'nothing' WHERE c.id BETWEEN 101 AND 105",
      5,
    ],
    [
      "tickets t LEFT JOIN customers c ON c.id = t.customer_id AND c.country = 'nowhere' WHERE t.customer_id = 106",
      1,
    ],
    ["tickets t LEFT JOIN customers c ON c.id = -t.customer_id + 1 WHERE t.id = 107", 2],
    ["tickets t LEFT JOIN ticket_messages m ON m.id = t.id WHERE t.id = 108", 1],
    [
      "customers c LEFT JOIN (tickets t JOIN payments p ON p.customer_id = t.customer_id) ON t.customer_id = c.id AND false WHERE c.id = 130",
      1,
    ],
  ])(
    "counts no more people where the join is by the person, or by one of their columns: %s",
    async (from, people) => {
      await cleo.send(query(`SELECT 1 FROM ${from}`)).until("Z");
      expect(told()).toBe(people);
    },
  );
});

/** A sixteenth of a person: see docs/metering.md. */
const EXECUTION = { rows: 1, people: [], units: [16], counts: "price" };

describe("people on the way out", () => {
  test("are told to the meter, and the client sees neither field nor description of it", async () => {
    const { where, ids } = people(3);
    const seen = await cleo.send(query(`select country, id from customers where ${where}`)).until("Z");
    expect(shortOf(seen)).toMatch(
      /^T\(country,id\) D\(..,\d+\) D\(..,\d+\) D\(..,\d+\) C\(SELECT 3\) Z\(I\)$/,
    );
    expect(store.asked).toMatchObject([EXECUTION, { rows: 3, people: ids, unknownPerRow: 0 }]);
    expect(world.sluice.statements()).toMatchObject([
      { rows: 3, people: 3, subjects: ids.map((id) => `public.customers.id ${id}`) },
    ]);
  });

  test.each([0, 1])("in format %s, given once or for each column", async (format) => {
    for (const formats of [[format], [format, format]]) {
      const { where, ids } = people(2);
      // pg's own Bind would not say one format for each column.
      const bind = message(
        Frontend.Bind,
        Buffer.from("\0\0"),
        uint16(0),
        uint16(0),
        uint16(formats.length),
        ...formats.map(uint16),
      );
      cleo.send(parse("", `select id::int4, country from customers where ${where}`), bind);
      cleo.send(describeMessage({ target: "portal", name: "" }), executeMessage("", 0), syncMessage);
      const seen = await cleo.until("Z");
      expect(shortOf(seen)).toMatch(/^1 2 T\(id,country\) D.* D.* C\(SELECT 2\) Z\(I\)$/s);
      const rows = seen.filter(({ type }) => type === "D");
      expect(rows.map(({ bytes }) => bytes.readUInt16BE(5))).toEqual([2, 2]);
      expect(rows.map(({ bytes }) => bytes.readInt32BE(7))).toEqual(
        format === 1 ? [4, 4] : ids.map((id) => id.length),
      );
      expect(store.asked.at(-1)?.people).toEqual(ids);
    }
  });

  test("of a cursor and of EXECUTE are counted as they leave, not when they are declared", async () => {
    const { where, ids } = people(4);
    const text = `begin; declare c cursor for select country from customers where ${where}; prepare p(int) as select country from customers where id = $1`;
    await cleo.send(query(text)).answer();
    expect(store.asked).toEqual([]);
    expect(await cleo.send(query("fetch 3 from c")).answer()).toMatch(
      /^T\(country\) D\(..\) D\(..\) D\(..\) C\(FETCH 3\) Z\(T\)$/,
    );
    expect(store.asked.at(-1)?.people).toEqual(ids.slice(0, 3));
    expect(await cleo.send(query(`execute p(${ids[3]})`)).answer()).toMatch(
      /^T\(country\) D\(..\) C\(SELECT 1\) Z\(T\)$/,
    );
    expect(store.asked.at(-1)?.people).toEqual([ids[3]]);
    await cleo.send(query("rollback")).answer();
  });

  test("of COPY are unknown, and count row by row", async () => {
    const { where } = people(2);
    expect(await cleo.send(query(`copy (select id from customers where ${where}) to stdout`)).answer()).toBe(
      "H d d c C(COPY 2) Z(I)",
    );
    expect(store.asked).toMatchObject([EXECUTION, { rows: 2, people: [], units: [256, 256] }]);
  });
});

describe("a budget", () => {
  test("lets as many rows leave as the meter says, then fails the statement and keeps the session", async () => {
    store.answer = room(2);
    const { where } = people(4);
    const seen = await cleo.send(query(`select id from customers where ${where}`)).until("Z");
    expect(shortOf(seen)).toMatch(/^T\(id\) D\(\d+\) D\(\d+\) E\(53400\) Z\(I\)$/);
    const error = seen.find(({ type }) => type === "E")?.bytes ?? Buffer.alloc(0);
    expect(fieldOf(error, "n")).toBe("roles.counted.budget.1d");
    expect(await cleo.send(query("select 1 as one")).answer()).toBe(`${ONE} Z(I)`);
    expect(world.sluice.statements()).toMatchObject([
      { decision: "cut", sqlstate: "53400", rows: 2, people: 2 },
      { decision: "allow" },
    ]);
  });

  test("fails a block and rolls back a pipeline", async () => {
    store.answer = room(1);
    await cleo.send(query("begin")).answer();
    expect(await cleo.send(query(`select id from customers where ${people(3).where}`)).answer()).toMatch(
      /^T\(id\) D\(\d+\) E\(53400\) Z\(E\)$/,
    );
    await cleo.send(query("rollback")).answer();
    cleo.send(
      parse("", "update tickets set status = 'half' where id = 1"),
      bindMessage("", ""),
      executeMessage("", 0),
    );
    cleo.send(parse("", `select id from customers where ${people(3).where}`), bindMessage("", ""));
    cleo.send(executeMessage("", 0), syncMessage);
    expect(await cleo.answer()).toMatch(/E\(53400\) Z\(I\)$/);
    const { rows } = await world.database.query("select status from tickets where id = 1");
    expect(rows[0]?.status).not.toBe("half");
  });

  test("that cannot be counted lets nothing leave", async () => {
    store.answer = () => ({ kind: "unreachable" });
    const list = `select id from customers where ${people(3).where}`;
    expect(await cleo.send(query(list)).answer()).toBe("E(58000) Z(I)");
    // Its price was counted, its rows were not.
    store.answer = ({ counts }) => ({ kind: counts === "price" ? "all" : "unreachable" });
    expect(await cleo.send(query(list)).answer()).toBe("T(id) E(58000) Z(I)");
    expect(await cleo.send(query("select 1 as one")).answer()).toBe(`${ONE} Z(I)`);
  });

  test("holds every row and all that follows until the meter has answered", async () => {
    let release: (grant: Grant) => void = () => {};
    const asked = new Promise<void>((begun) => {
      store.answer = ({ counts }) => {
        if (counts === "price") return { kind: "all" };
        begun();
        return new Promise((resolve) => {
          release = resolve;
        });
      };
    });
    cleo.send(query(`select id from customers where ${people(3).where}`), query("select 1 as one"));
    expect((await cleo.next())?.type).toBe("T");
    await asked;
    let arrived = false;
    const row = cleo.next().then((seen) => {
      arrived = true;
      return seen;
    });
    // Another session is served meanwhile; when it has had its answers, anything released would be here too.
    const app = new pg.Client({ connectionString: world.sluice.uri("helpdesk_app") });
    await app.connect();
    await app.query("select 1");
    await app.end();
    expect(arrived).toBe(false);
    store.answer = () => ({ kind: "all" });
    release({ kind: "all" });
    expect((await row)?.type).toBe("D");
    expect(await cleo.answer()).toMatch(/^D\(\d+\) D\(\d+\) C\(SELECT 3\) Z\(I\)$/);
    expect(await cleo.answer()).toBe(`${ONE} Z(I)`);
  });

  test("charges a long result in batches, in order", async () => {
    const before = next;
    people(900);
    const seen = await cleo
      .send(
        query(
          `select id, repeat('x', 200) from customers where id between ${before} and ${next - 1} order by id`,
        ),
      )
      .until("Z");
    const ids = seen.filter(({ type }) => type === "D").map(({ bytes }) => Number(valuesOf(bytes)[0]));
    expect(ids).toEqual(Array.from({ length: ids.length }, (_, i) => before + i));
    expect(ids.length).toBe(Math.min(900, 1001 - before));
    expect(store.asked.length).toBeGreaterThan(1);
    expect(store.asked.flatMap(({ people: charged }) => charged)).toEqual(ids.map(String));
  });
});

/** Each write costs both ends a system call, and the server's process a turn of its own. */
test("a pipeline whose execution waits for the counters goes to the server in one write", async () => {
  await cleo
    .send(parse("whole", `SELECT id FROM customers WHERE ${people(1).where}`), syncMessage)
    .until("Z");
  const written = vi.spyOn(Socket.prototype, "_write");
  const toServer = () =>
    written.mock.calls
      .filter((_, i) => written.mock.contexts[i] !== cleo.socket)
      .flatMap(([bytes]) => (Buffer.isBuffer(bytes) && bytes.includes("whole") ? [bytes] : []));
  try {
    let answer: (grant: Grant) => void = () => {};
    store.answer = () =>
      new Promise((resolve) => {
        answer = resolve;
      });
    const portal = { target: "portal", name: "" } as const;
    cleo.send(bindMessage("", "whole"), describeMessage(portal), executeMessage("", 0), syncMessage);
    await expect.poll(() => store.asked.length).toBe(1);
    expect(toServer()).toEqual([]);
    store.answer = () => ({ kind: "all" });
    answer({ kind: "all" });
    await cleo.until("Z");
    expect(toServer().map((bytes) => bytes.subarray(-syncMessage.length))).toEqual([syncMessage]);
  } finally {
    written.mockRestore();
  }
});
