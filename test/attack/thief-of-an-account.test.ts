import { setTimeout } from "node:timers/promises";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { checkPolicy } from "../../proxy/check/check.ts";
import type { CounterStore } from "../../proxy/meter/meter.ts";
import { createMemoryStore } from "../../proxy/meter/store-memory.ts";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import { describeProblem } from "../../proxy/policy/problems.ts";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { fieldOf, functionCall, query, type Raw, shortOf } from "../harness/raw-client.ts";
import { makeWorld, type World } from "../session/world.ts";

/*
 * A thief has the password of an application, or sends SQL through it. What they try is to read past the fence, and past the
 * count: by other messages of the protocol, by texts that mean something else, by what is no row, and by many connections.
 */

const WATCHED = `
version: 1
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
people: { anna: [agent-17] }
roles:
  app:
    users: [helpdesk_app]
    reads: all
    writes: all
    sees: all
    watch: true
    budget: { 1h: 50 }
    people_behind: [{ setting: app.agent }]
    unnamed: { budget: { 1h: 20 } }
`;

const BY_ID = "SELECT email FROM customers WHERE id = $1";

function fenced(...shapes: readonly (readonly [shape: string, ...tables: string[]])[]): string {
  const statements = shapes.map(
    ([shape, ...tables]) =>
      `      - { people: 1, shape: ${JSON.stringify(shape)}${tables.length > 0 ? `, tables: ${JSON.stringify(tables)}` : ""} }`,
  );
  return `${WATCHED}fences:
  helpdesk_app:
    outside: refuse
    places: [{ from: [127.0.0.0/8], program: "*" }]
    statements:
${statements.join("\n")}
`;
}

let world: World;
beforeAll(async () => {
  world = await makeWorld("npm", { policy: WATCHED });
  await world.database.query(`
    CREATE SCHEMA hr;
    CREATE TABLE hr.customers AS SELECT id, name, email, phone FROM public.customers;
    CREATE FUNCTION public.email_of(i int) RETURNS text LANGUAGE sql IMMUTABLE AS $$
      SELECT email FROM public.customers WHERE id = i $$;
    CREATE FUNCTION public.dump(i int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$
      BEGIN RAISE EXCEPTION '%', (SELECT string_agg(email, ',') FROM public.customers); END $$;
    CREATE FUNCTION public.dump_late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM public.dump(1); RETURN NULL; END $$;
    CREATE TABLE public.late (i int);
    CREATE CONSTRAINT TRIGGER late AFTER INSERT ON public.late DEFERRABLE INITIALLY DEFERRED
      FOR EACH ROW EXECUTE FUNCTION public.dump_late();
    GRANT USAGE ON SCHEMA hr TO helpdesk_app;
    GRANT ALL ON ALL TABLES IN SCHEMA public, hr TO helpdesk_app;
  `);
});
afterAll(() => world?.close());

async function withSluice(policy: string, work: (sluice: TestProxy) => Promise<void>): Promise<void> {
  const sluice = await startProxy(world.database, { policy });
  try {
    await work(sluice);
  } finally {
    await sluice.close();
  }
}

const parse = (name: string, sql: string) => parseMessage(name, Buffer.from(sql));

const ask = (raw: Raw, ...messages: readonly Buffer[]) => raw.send(...messages).answer();

async function callMessage(name: string, ...values: readonly string[]): Promise<Buffer> {
  const { rows } = await world.database.query<{ oid: number }>(
    `SELECT oid::int FROM pg_proc WHERE proname = '${name}' ORDER BY 1 LIMIT 1`,
  );
  return functionCall(rows[0]?.oid ?? 0, ...values);
}

const DUMP = ["SELECT * FROM customers", "t", "f", ""] as const;

test("the function call protocol runs no query past the count", async () => {
  await withSluice(WATCHED, async (sluice) => {
    const raw = await sluice.raw("helpdesk_app");
    expect(await ask(raw, await callMessage("query_to_xml", ...DUMP))).toBe("E(53400) Z(I)");
    raw.socket.destroy();
  });
});

test("and what it returns is charged to whoever is named, and is on record", async () => {
  await withSluice(WATCHED, async (sluice) => {
    const raw = await sluice.raw("helpdesk_app");
    await ask(raw, query("SET app.agent = 'anna'"));
    expect(await ask(raw, await callMessage("email_of", "7"))).toBe("V Z(I)");
    expect(await ask(raw, await callMessage("int4pl", "3", "4"))).toBe("V Z(I)");
    const calls = () => sluice.events.flatMap((event) => (event.kind === "statement" ? [event] : []));
    await expect.poll(() => calls().length).toBe(3);
    expect(calls().slice(1)).toMatchObject([
      { user: "anna", account: "helpdesk_app", statement: 'CALL "public"."email_of"()', people: 1 },
      { statement: 'CALL "pg_catalog"."int4pl"()', people: 0 },
    ]);
    raw.socket.destroy();
  });
});

const OPENS = `DO $$ DECLARE r refcursor := 'opened'; BEGIN OPEN r FOR SELECT id, email FROM customers; END $$`;

test("a cursor that code has opened is not read past the count by the protocol", async () => {
  await withSluice(WATCHED, async (sluice) => {
    const raw = await sluice.raw("helpdesk_app");
    await ask(raw, query("SET app.agent = 'anna'"));
    await ask(raw, query(`BEGIN; ${OPENS}`));
    expect(await ask(raw, executeMessage("opened", 30), syncMessage)).toBe("D×30 s Z(T)");
    expect(await ask(raw, executeMessage("opened", 0), syncMessage)).toContain("E(53400)");
    const shown = () =>
      sluice.events.filter((event) => event.kind === "statement" && event.command === "FETCH");
    await expect.poll(() => shown().length).toBeGreaterThan(0);
    expect(shown()[0]).toMatchObject({ user: "anna", rows: 30, readsMore: true, uncounted: true });
    raw.socket.destroy();
  });
});

test("nor past the fence is such a cursor read", async () => {
  await withSluice(WATCHED, async (sluice) => {
    const raw = await sluice.raw("helpdesk_app");
    await ask(raw, query(`BEGIN; ${OPENS}`));
    sluice.setPolicy(fenced([BY_ID]));
    expect(await ask(raw, executeMessage("opened", 3), syncMessage)).toBe("E(42501) Z(E)");
    raw.socket.destroy();
  });
});

test("under which names the proxy asks, and what it sends in place of what is refused, no notice tells", async () => {
  await withSluice(fenced([BY_ID]), async (sluice) => {
    const raw = await sluice.raw("helpdesk_app");
    await ask(raw, query("SET client_min_messages = debug2"), query("SET app.agent = 'anna'"));
    await raw.until("Z");
    raw.send(
      parse("x", BY_ID.replace("$1", "7")),
      bindMessage("p", "x"),
      executeMessage("p", 0),
      syncMessage,
    );
    raw.send(parse("y", "SELECT 1"), syncMessage, bindMessage("p", "none"), syncMessage);
    const answers = [await raw.until("Z"), await raw.until("Z"), await raw.until("Z")];
    const notices = answers
      .flat()
      .flatMap(({ type, bytes }) => (type === "N" ? [fieldOf(bytes, "M") ?? ""] : []));
    expect(notices).toContain("bind p to x");
    expect(notices.filter((text) => /sluice [0-9a-f]|!sluice|current_setting/.test(text))).toEqual([]);
    raw.socket.destroy();
  });
});

test("nor past the fence", async () => {
  await withSluice(fenced([BY_ID], ['CALL "pg_catalog"."int4pl"()']), async (sluice) => {
    const raw = await sluice.raw("helpdesk_app");
    expect(await ask(raw, await callMessage("query_to_xml", ...DUMP))).toBe("E(42501) Z(I)");
    expect(await ask(raw, await callMessage("email_of", "7"))).toBe("E(42501) Z(I)");
    expect(await ask(raw, await callMessage("int4pl", "3", "4"))).toBe("V Z(I)");
    raw.socket.destroy();
  });
});

test("what the fence knows runs nothing that was prepared or bound past it", async () => {
  const known = fenced([BY_ID], ["FETCH ALL FROM c"], ["EXECUTE p"]);
  const outside = "SELECT email FROM customers WHERE id < 5";
  await withSluice(known, async (sluice) => {
    const raw = await sluice.raw("helpdesk_app");
    expect(await ask(raw, parse("p", outside), syncMessage)).toBe("E(42501) Z(I)");
    expect(await ask(raw, query("EXECUTE p"))).toBe("E(26000) Z(I)");
    await ask(raw, query("BEGIN"));
    expect(await ask(raw, parse("q", outside), bindMessage("c", "q"), syncMessage)).toBe("E(42501) Z(E)");
    await ask(raw, query("ROLLBACK"));
    // The planner calls functions that are said to be immutable, and its errors quote what they return.
    expect(await ask(raw, parse("", "SELECT email_of(7)::int"), bindMessage("", ""), syncMessage)).toBe(
      "E(42501) Z(I)",
    );
    raw.socket.destroy();
  });
});

test("nor what was prepared before the fence was there", async () => {
  await withSluice(WATCHED, async (sluice) => {
    const raw = await sluice.raw("helpdesk_app");
    await ask(raw, parse("q", "SELECT email FROM customers WHERE id < 5"), syncMessage);
    sluice.setPolicy(fenced([BY_ID], ["FETCH ALL FROM c"]));
    await ask(raw, query("BEGIN"));
    expect(await ask(raw, bindMessage("c", "q"), syncMessage)).toBe("E(42501) Z(E)");
    raw.socket.destroy();
  });
});

test("a driver may ask by an empty query whether its connection lives", async () => {
  await withSluice(fenced([BY_ID]), async (sluice) => {
    const raw = await sluice.raw("helpdesk_app");
    for (const text of ["", ";", "-- ping"]) expect(await ask(raw, query(text)), text).toBe("I Z(I)");
    expect(await ask(raw, parse("", ""), bindMessage("", ""), executeMessage("", 0), syncMessage)).toBe(
      "1 2 I Z(I)",
    );
    raw.socket.destroy();
  });
});

test("a text that the server reads otherwise is nothing that the fence knows", async () => {
  await withSluice(fenced([BY_ID], ["SELECT email FROM customers WHERE name = $1"]), async (sluice) => {
    const client = await sluice.connect("helpdesk_app");
    await client.query("SET standard_conforming_strings = off");
    // The first such text of the process, and one with another.
    await expect(client.query("SELECT email FROM customers WHERE id = 7")).rejects.toMatchObject({
      code: "42501",
    });
    await expect(
      client.query("SELECT email FROM customers WHERE name = '\\'' OR 1=1 --'"),
    ).rejects.toMatchObject({ code: "42501" });
    await client.end();
  });
});

test("the same words mean no other table under another search_path", async () => {
  await withSluice(fenced([BY_ID, "public.customers"], ["SELECT set_config($1, $2, $3)"]), async (sluice) => {
    const client = await sluice.connect("helpdesk_app");
    const byId = "SELECT email FROM customers WHERE id = 7";
    await client.query(byId);
    for (const way of ["SET search_path = hr", "SELECT set_config('search_path', 'hr', false)"]) {
      await client.query(way);
      await expect(client.query(byId), way).rejects.toMatchObject({ code: "42501" });
      await client.query("RESET search_path");
    }
    await client.query(byId);
    await client.end();
    const options = encodeURIComponent("-c search_path=hr");
    const other = new pg.Client({ connectionString: `${sluice.uri("helpdesk_app")}&options=${options}` });
    await other.connect();
    await expect(other.query(byId)).rejects.toMatchObject({ code: "42501" });
    await other.end();
  });
});

test("what is run out of a literal is never held by its shape, and the DBA is told so", async () => {
  const shapes = ["DO $1", "SELECT query_to_xml($1, $2, $3, $4)", "SELECT * FROM t … 70000 bytes more"];
  const policy = fenced([BY_ID], ...shapes.map((shape) => [shape] as const));
  await withSluice(policy, async (sluice) => {
    const client = await sluice.connect("helpdesk_app");
    for (const sql of [
      "DO $$ BEGIN RAISE NOTICE '%', (SELECT email FROM customers WHERE id = 7); END $$",
      "SELECT query_to_xml('SELECT * FROM customers', true, false, '')",
    ])
      await expect(client.query(sql), sql).rejects.toMatchObject({ code: "42501" });
    await client.end();
  });
  const compiled = compilePolicies([{ name: "p.yaml", text: policy }]);
  if (!compiled.ok) throw new Error(compiled.problems.map(describeProblem).join("\n"));
  const told = checkPolicy(compiled.policies.forDatabase("support")).map(({ hint }) => hint);
  for (const shape of shapes) expect(told.join("\n")).toContain(shape);
});

test("lists of any length have one shape, and calls do not", async () => {
  const policy = fenced(
    ["SELECT name FROM customers WHERE id IN ($1, $2) AND country = $3"],
    ["SELECT concat($1, $2)"],
    ["INSERT INTO tickets (customer_id, subject) VALUES ($1, $2)"],
  );
  await withSluice(policy, async (sluice) => {
    const client = await sluice.connect("helpdesk_app");
    for (const ids of ["1", "1, 2, 3", "1,2,3,4,5,6,7"])
      await client.query(
        `SELECT name FROM customers WHERE id IN (${ids}) AND country = 'DE'`.replace(/,(?! )/g, ", "),
      );
    await expect(client.query("SELECT concat('a', 'b', 'c')")).rejects.toMatchObject({ code: "42501" });
    await expect(
      client.query("SELECT name FROM customers WHERE id IN (SELECT id FROM customers) AND country = 'DE'"),
    ).rejects.toMatchObject({ code: "42501" });
    await client.end();
  });
});

/** Waits until somebody is on record with more than nobody, and gives how many in all. */
async function peopleOf(sluice: TestProxy, user: string): Promise<number> {
  const found = () =>
    sluice.events.flatMap((event) =>
      (event.kind === "statement" || event.kind === "rows") && event.user === user ? [event.people] : [],
    );
  await expect.poll(() => found().some((people) => people > 0)).toBe(true);
  return found().reduce((sum, people) => sum + people, 0);
}

test("notices of code of one's own are charged, and stopped", async () => {
  await withSluice(WATCHED, async (sluice) => {
    const client = await sluice.connect("helpdesk_app");
    await client.query("SET app.agent = 'anna'");
    let shown = 0;
    client.on("notice", () => shown++);
    await expect(
      client.query(
        "DO $$ DECLARE r record; BEGIN FOR r IN SELECT * FROM customers LOOP RAISE NOTICE '%', r; END LOOP; END $$",
      ),
    ).rejects.toMatchObject({ code: "53400" });
    expect(shown).toBeLessThan(60);
    expect(await peopleOf(sluice, "anna")).toBeGreaterThan(20);
    await client.end();
  });
});

const EVERYBODY = "(SELECT string_agg(email, ',') FROM customers)";

const TABLE_IN_AN_ERROR = [
  `SELECT ${EVERYBODY}::int`,
  // Errors that name what is not there: a setting, a type, a function, a column.
  `SELECT current_setting(${EVERYBODY})`,
  `SELECT ${EVERYBODY}::regtype`,
  `SELECT ${EVERYBODY}::regproc`,
  `SELECT ${EVERYBODY}::regoper`,
  `SELECT has_column_privilege('customers', ${EVERYBODY}, 'select')`,
  `COPY (SELECT current_setting(${EVERYBODY})) TO STDOUT`,
  // What was put off to the end of the transaction.
  "BEGIN; INSERT INTO late VALUES (1); COMMIT",
  "BEGIN; INSERT INTO late VALUES (1); SET CONSTRAINTS ALL IMMEDIATE",
  `BEGIN; DECLARE held CURSOR WITH HOLD FOR SELECT ${EVERYBODY}::int; COMMIT`,
  "INSERT INTO late VALUES (1)",
  "INSERT INTO tickets (customer_id) SELECT (SELECT string_agg(email, ',') FROM customers)::int",
  "DO $$ BEGIN RAISE EXCEPTION '%', (SELECT string_agg(email, ',') FROM customers) USING ERRCODE = '42601'; END $$",
  "DO $$ BEGIN RAISE EXCEPTION 'x' USING COLUMN = (SELECT string_agg(email, ',') FROM customers); END $$",
  // So long that it arrives in pieces.
  "DO $$ BEGIN RAISE EXCEPTION '%', (SELECT string_agg(repeat(email, 100), ',') FROM customers); END $$",
];

test("an error that quotes a table is charged before it leaves, and not told without room", async () => {
  await withSluice(WATCHED, async (sluice) => {
    const client = await sluice.connect("helpdesk_app");
    for (const [index, sql] of TABLE_IN_AN_ERROR.entries()) {
      await client.query(`SET app.agent = 'thief-${index}'`);
      const error = await client.query(sql).then(
        () => "",
        (thrown: unknown) => JSON.stringify({ ...(thrown as object), message: String(thrown) }),
      );
      expect(error, sql).toContain('"code":"53400"');
      expect(error, sql).not.toContain("@");
      // Nothing was cancelled that came after it.
      if (sql.startsWith("BEGIN")) await client.query("ROLLBACK");
      await client.query("SET app.agent = 'anna'");
      expect((await client.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
    }
    // Whoever asks for one value after the other has a name.
    await expect(
      client.query("SELECT (SELECT email FROM customers WHERE id = 7)::int"),
    ).rejects.toMatchObject({ code: "22P02" });
    expect(await peopleOf(sluice, "anna")).toBe(1);
    await client.end();
  });
});

test("nor is it told by the planner at a Bind, or by the commit at a Sync", async () => {
  await withSluice(WATCHED, async (sluice) => {
    for (const sql of ["SELECT dump(1)", "INSERT INTO late VALUES (1)"]) {
      const raw = await sluice.raw("helpdesk_app");
      const messages = [parse("", sql), bindMessage("", ""), executeMessage("", 0), syncMessage];
      raw.send(...messages, query("SELECT 1"));
      const answer = await raw.until("Z");
      expect(shortOf(answer), sql).toContain("E(53400)");
      expect(Buffer.concat(answer.map(({ bytes }) => bytes)).toString(), sql).not.toContain("@");
      expect(shortOf(await raw.until("Z")), sql).toBe("T(?column?) D(1) C(SELECT 1) Z(I)");
      raw.socket.destroy();
    }
    expect(sluice.statements().filter(({ people = 0 }) => people > 20)).toHaveLength(2);
  });
});

test("values that a write has read are charged, also where its error is of the kind that quotes what was sent", async () => {
  const name = "SELECT email FROM customers WHERE id =";
  for (const write of [
    (i: number) => `INSERT INTO customers (id, name, email) ${name.replace("email", "-1, NULL, email")} ${i}`,
    (i: number) => `INSERT INTO customers (id, email) VALUES (-1, (${name} ${i}))`,
    (i: number) =>
      `INSERT INTO customers (id, name) VALUES (${i}, 'x') ON CONFLICT (id) DO UPDATE SET name = NULL`,
    (i: number) => `SELECT current_setting(email) FROM customers WHERE id = ${i}`,
  ])
    await withSluice(WATCHED, async (sluice) => {
      const client = await sluice.connect("helpdesk_app");
      const codes: unknown[] = [];
      for (let i = 1; i <= 25; i++)
        await client.query(write(i)).catch((error: pg.DatabaseError) => codes.push(error.code));
      expect(codes, write(1)).toHaveLength(25);
      expect(codes.at(-1), write(1)).toBe("53400");
      await client.end();
    });
});

test("a notice that quotes a table waits for the counters as well", async () => {
  await withSluice(WATCHED, async (sluice) => {
    const client = await sluice.connect("helpdesk_app");
    const notices: unknown[] = [];
    client.on("notice", (notice) => notices.push(notice));
    const named = `SELECT query_to_xml('SELECT 1 AS "' || ${EVERYBODY} || '"', true, true, '')`;
    await expect(client.query(named)).rejects.toMatchObject({ code: "53400" });
    expect(notices).toEqual([]);
    await client.end();
  });
});

test("a long error is the server's own where there is room for all it may quote", async () => {
  await withSluice(WATCHED.replaceAll(/1h: \d+/g, "1h: 100000"), async (sluice) => {
    const client = await sluice.connect("helpdesk_app");
    const direct = new pg.Client({ connectionString: world.database.uri });
    await direct.connect();
    await client.query("SET app.agent = 'anna'");
    const long = `DO $$ BEGIN RAISE EXCEPTION '%', repeat('R', 6000) USING HINT = 'as it is'; END $$`;
    for (const sql of [long, ...TABLE_IN_AN_ERROR]) {
      const failure = async (on: pg.Client) => {
        const { code, message, hint, column } = await on.query(sql).then(
          () => expect.unreachable(),
          (thrown: pg.DatabaseError) => thrown,
        );
        if (sql.startsWith("BEGIN")) await on.query("ROLLBACK");
        return { code, message, hint, column };
      };
      expect(await failure(client), sql).toEqual(await failure(direct));
    }
    expect(await peopleOf(sluice, "anna")).toBeGreaterThan(1_500);
    await direct.end();
    await client.end();
  });
});

test("ordinary errors are charged to nobody", async () => {
  await withSluice(WATCHED, async (sluice) => {
    const client = await sluice.connect("helpdesk_app");
    await client.query("SET app.agent = 'anna'");
    for (const sql of [
      "SELECT nothing FROM customers",
      "SELECT 'x'::int",
      "INSERT INTO customers (id, name) VALUES (1, 'again') RETURNING id",
      "SELECT email FROM nowhere",
      "SET nothing = 1",
      "SELECT email FROM customers WHERE id = 'seven'",
      "INSERT INTO customers (id, name) VALUES (900000, NULL)",
      "INSERT INTO customers (id, name) VALUES ('x', 'again')",
      `SELECT id AS ${"a_name_longer_than_a_name_may_be_".repeat(3)} FROM customers WHERE false`,
      "COMMIT AND CHAIN",
    ])
      await client.query(sql).catch((error) => expect(error).toBeInstanceOf(pg.DatabaseError));
    await client.query("SELECT email FROM customers WHERE id = 7");
    expect(await peopleOf(sluice, "anna")).toBe(1);
    await client.end();
  });
});

test("ninety connections at once show no more than one does", async () => {
  await withSluice(WATCHED, async (sluice) => {
    const clients = await Promise.all(Array.from({ length: 90 }, () => sluice.connect("helpdesk_app")));
    await Promise.all(clients.map((client) => client.query("SET app.agent = 'anna'")));
    const pages = await Promise.allSettled(
      clients.map((client, i) => client.query(`SELECT email FROM customers WHERE id > ${i * 10} LIMIT 10`)),
    );
    const shown = pages.flatMap((page) => (page.status === "fulfilled" ? page.value.rows : []));
    // The budget of 50, and the ten that may leave before the counters have spoken.
    expect(shown.length).toBeLessThanOrEqual(60);
    expect(shown.length).toBeGreaterThanOrEqual(40);
    await Promise.all(clients.map((client) => client.end()));
  });
});

test("thirty people at once, each far below a budget of their own, show no more of their role's than one does", async () => {
  const policy = WATCHED.replace("budget: { 1h: 50 }", "budget: { 1h: 50 }\n    role_budget: { 1h: 100 }");
  const memory = createMemoryStore();
  // As over a network: what is charged is known later.
  const store: CounterStore = {
    ...memory,
    close: () => memory.close(),
    async charge(...asked) {
      await setTimeout(20);
      return memory.charge(...asked);
    },
  };
  const sluice = await startProxy(world.database, { policy, store });
  try {
    const clients = await Promise.all(Array.from({ length: 30 }, () => sluice.connect("helpdesk_app")));
    await Promise.all(clients.map((client, i) => client.query(`SET app.agent = 'agent${i}'`)));
    // Rows before an error have been shown as well.
    let shown = 0;
    const page = (client: pg.Client, i: number) =>
      new Promise<void>((resolve) => {
        const rows = client.query(new pg.Query(`SELECT email FROM customers WHERE id > ${i * 10} LIMIT 10`));
        rows.on("row", () => {
          shown += 1;
        });
        rows.on("end", () => resolve()).on("error", () => resolve());
      });
    await Promise.all(clients.map(page));
    // The role's budget, and a fifth of it.
    expect(shown).toBeLessThanOrEqual(120);
    expect(shown).toBeGreaterThanOrEqual(80);
    await Promise.all(clients.map((client) => client.end()));
  } finally {
    await sluice.close();
  }
});

test("one row, or rows in one packet, of more people than may leave at once wait for the counters", async () => {
  for (const sql of [
    "SELECT string_agg(email, ',') FROM customers WHERE id < 900",
    "SELECT DISTINCT email FROM customers",
    "COPY (SELECT email FROM customers) TO STDOUT",
  ])
    await withSluice(WATCHED, async (sluice) => {
      const raw = await sluice.raw("helpdesk_app");
      raw.send(query(sql));
      const answer = await raw.until("Z");
      const bytes = answer.reduce((sum, each) => sum + (/[Dd]/.test(each.type) ? each.bytes.length : 0), 0);
      expect(bytes, sql).toBeLessThan(20 * 64);
      const error = answer.find(({ type }) => type === "E");
      expect(error && fieldOf(error.bytes, "C"), sql).toBe("53400");
      raw.socket.destroy();
    });
});

test("names that look the same are one person, and what cannot be seen names nobody", async () => {
  await withSluice(WATCHED, async (sluice) => {
    const client = await sluice.connect("helpdesk_app");
    const names = ["anna", " anna ", "agent-17", " agent-17", "zoé", "zoe\u0301"];
    const nobody = ["an\u200bna", "an\u202ena", "an\u00adna", "a\u2028b", "x".repeat(129), "helpdesk_app"];
    for (const name of [...names, ...nobody]) {
      await client.query("SELECT set_config('app.agent', $1, false)", [name]);
      await client.query("SELECT email FROM customers WHERE id = 7");
    }
    const read = () =>
      sluice.events.flatMap((event) => (event.kind === "statement" && event.people > 0 ? [event] : []));
    await client.end();
    await expect.poll(() => read().reduce((sum, { count = 1 }) => sum + count, 0)).toBe(12);
    const readers = read().flatMap(({ user, account, count = 1 }) =>
      Array.from({ length: count }, () => (account === undefined ? "unnamed" : user)),
    );
    expect(readers).toEqual([
      ...["anna", "anna", "anna", "anna", "zoé", "zoé"],
      ...nobody.map(() => "unnamed"),
    ]);
  });
});
