import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import type pg from "pg";
import postgres from "postgres";
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import { tokensColumn } from "../../proxy/commands/tokens-column.ts";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { checkAgainstCatalog } from "../../proxy/policy/against-catalog.ts";
import { canaryToken } from "../../proxy/tokens/canary.ts";
import { Sealer } from "../../proxy/tokens/sealed.ts";
import { createRoles, databaseOn, startPostgres, type TestDatabase } from "../harness/postgres.ts";
import { policiesOf, startProxy, type TestProxy } from "../harness/proxy.ts";
import { ring, ringText } from "../harness/token-keys.ts";

/* Searches by blind indexes while keys change, and how a column comes to carry them. */

const sealer = new Sealer(ring(1));
const CANARY = canaryToken(sealer);
const policyWith = (searches: string) => `
version: 1
token_canary: ${CANARY}
classes:
  name: { mask: initials, stored: token, joinable: true, searches: ${searches} }
tables:
  public.people: { subject: id, columns: { name: name } }
  public.mails: { subject: person, columns: { sender: name } }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
  lead: { users: [ben], reads: all, writes: all, sees: [name] }
  agent: { users: [anna], reads: [public.people], finds: [name] }
`;
const ALL = policyWith("[case, last4, words]");

let server: RunningPostgres;
let database: TestDatabase;
let sluice: TestProxy;
let app: pg.Client;
let lead: pg.Client;
let agent: pg.Client;
let folder: string;

beforeAll(async () => {
  server = await startPostgres({ auth: "trust" });
  await createRoles(server.uri);
  database = await databaseOn(server.uri, "searches_rotation");
  folder = mkdtempSync(join(tmpdir(), "sluice-searches-"));
  await database.query(`
    CREATE TABLE people (id bigint PRIMARY KEY, name text);
    CREATE TABLE mails (id bigint PRIMARY KEY, person bigint, sender text);
    CREATE UNIQUE INDEX one_case ON mails (split_part(sender, '.', 2));
    CREATE TABLE limited (id bigint PRIMARY KEY, name varchar(500));
    CREATE TABLE bytes (id bigint PRIMARY KEY, name bytea);
    GRANT ALL ON people, mails TO helpdesk_app, ben, anna;`);
  sluice = await startProxy(database, { policy: ALL, tokens: sealer });
  [app, lead, agent] = await Promise.all([
    sluice.connect("helpdesk_app"),
    sluice.connect("ben"),
    sluice.connect("anna"),
  ]);
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await Promise.all([app, lead, agent].map((client) => client?.end()));
  await sluice?.close();
  await database?.drop();
  await server?.stop();
});

const NAMES = ["Anna Berg 1234", "ANNA Muster 9999", "Bert berg-anna 1234"];
/** Each person under a key of their own. */
beforeEach(async () => {
  sluice.setPolicy(ALL);
  await database.query("TRUNCATE people, mails");
  for (const [index, name] of NAMES.entries()) {
    sealer.use(ring(...[1, 2, 3].filter((each) => each !== index + 1), index + 1));
    await app.query("INSERT INTO people VALUES ($1, $2)", [index + 1, name]);
  }
  await app.query("INSERT INTO people VALUES (9, NULL)");
});

const idsOf = async (client: pg.Client, condition: string, values?: unknown[]) =>
  (await client.query(`SELECT id FROM people WHERE ${condition}`, values)).rows
    .map(({ id }) => Number(id))
    .toSorted();

test.each<[string, unknown[] | undefined, number[]]>([
  ["lower(name) = lower($1)", ["anna muster 9999"], [2]],
  ["lower(name) = 'anna berg 1234'", undefined, [1]],
  ["lower(name) = lower(('ANNA berg 1234'))", undefined, [1]],
  ["lower(name) <> $1", ["anna berg 1234"], [2, 3]],
  ["lower(name) <> lower('anna BERG 1234')", undefined, [2, 3]],
  ["lower(name) IN ('anna berg 1234', lower($1))", ["ANNA muster 9999"], [1, 2]],
  ["lower(name) NOT IN ('anna berg 1234', $1)", ["anna muster 9999"], [3]],
  ["lower(name) IN (('x'), lower(($1)))", ["ANNA muster 9999"], [2]],
  ["lower(name) = ANY($1)", [["anna berg 1234", "X", null]], [1]],
  ["lower(name) = ANY('{anna berg 1234,anna muster 9999}')", undefined, [1, 2]],
  ["lower(name) = ANY(ARRAY[lower($1), 'x'])", ["Anna Berg 1234"], [1]],
  ["lower(name) = 'Anna Berg 1234'", undefined, []],
  ["name ILIKE 'anna berg 1234'", undefined, [1]],
  ["name NOT ILIKE 'anna berg 1234'", undefined, [2, 3]],
  ["name ILIKE $1", ["anna MUSTER 9999"], [2]],
  ["name ILIKE $1", ["%1234"], [1, 3]],
  ["name ILIKE $1", ["%ANNA%"], [1, 2, 3]],
  ["name ILIKE $1", ["%anna berg%"], [1, 3]],
  ["name NOT ILIKE $1", ["%anna berg%"], [2]],
  ["name ILIKE '%muster anna%'", undefined, [2]],
  ["name ILIKE $1 OR lower(name) = $1 OR name = $1", ["Bert berg-anna 1234"], [3]],
  ["right(name, 4) = $1", ["1234"], [1, 3]],
  ["right(name, 4) IN ('9999', right($1, 4))", ["x1234"], [1, 2, 3]],
  ["name LIKE '%1234'", undefined, [1, 3]],
  ["name NOT LIKE $1", ["%1234"], [2]],
  ["to_tsvector('simple', name) @@ plainto_tsquery('simple', $1)", ["berg anna"], [1, 3]],
])("while keys are rotated, %s (%j) finds rows under every key", async (condition, values, expected) => {
  for (const client of [app, lead]) expect(await idsOf(client, condition, values)).toEqual(expected);
});

test("an agent finds by a value in any case under every key", async () => {
  for (const [index, name] of NAMES.entries()) {
    expect(await idsOf(agent, "lower(name) = lower($1)", [name.toUpperCase()])).toEqual([index + 1]);
    expect(await idsOf(agent, `name ILIKE '${name.toUpperCase()}'`)).toEqual([index + 1]);
    expect(await idsOf(agent, "name ILIKE $1", [name])).toEqual([index + 1]);
  }
});

test("one parameter is stored under the active key and searched under all", async () => {
  const store = (id: number, name: string) =>
    app.query(
      "INSERT INTO people (id, name) SELECT $2, $1 WHERE NOT EXISTS (SELECT FROM people WHERE lower(name) = lower($1) OR name ILIKE $1 OR name = $1)",
      [name, id],
    );
  expect((await store(20, "ANNA berg 1234")).rowCount).toBe(0);
  expect((await store(20, "Dora")).rowCount).toBe(1);
  expect((await store(21, "DORA")).rowCount).toBe(0);
  const { rowCount } = await lead.query(
    "UPDATE people SET name = $1 WHERE lower(name) = lower($1) OR right(name, 4) = $1",
    ["DORA"],
  );
  expect(rowCount).toBe(1);
  expect((await app.query("SELECT name FROM people WHERE id = 20")).rows).toEqual([{ name: "DORA" }]);
  const [held] = (await database.query("SELECT name FROM people WHERE id = 20")).rows;
  expect(held?.name).toMatch(/^slt1_3_[^.]+\.[^.]{16}\.[^.]{16}\.[^.:]{16}$/);
  // The one that stored it knows nothing of the other keys.
  const [first] = (await database.query("SELECT name FROM people WHERE id = 1")).rows;
  expect(first?.name).toMatch(/^slt1_1_/);
});

test("what compares parts of tokens with each other waits for the end of a rotation", async () => {
  for (const text of [
    "SELECT 1 FROM people p JOIN mails m ON lower(m.sender) = lower(p.name)",
    "SELECT 1 FROM people p WHERE EXISTS (SELECT FROM mails m WHERE lower(m.sender) = lower(p.name))",
    "SELECT id FROM people WHERE 'x' = lower(name)",
    "SELECT id FROM people WHERE lower(name) IS NOT DISTINCT FROM 'x'",
    "INSERT INTO mails VALUES (1, 1, 'x') ON CONFLICT DO NOTHING",
  ])
    await expect(app.query(text)).rejects.toMatchObject({ code: "55000" });
  sealer.use(ring(1));
  await app.query("INSERT INTO mails VALUES (1, 1, 'ANNA berg 1234')");
  expect(
    (await app.query("INSERT INTO mails VALUES (2, 1, 'Anna Berg 1234') ON CONFLICT DO NOTHING")).rowCount,
  ).toBe(0);
  await expect(app.query("INSERT INTO mails VALUES (2, 1, 'Anna Berg 1234')")).rejects.toMatchObject({
    code: "23505",
  });
  await expect(
    app.query("INSERT INTO mails VALUES (2, 1, 'x') ON CONFLICT (lower(sender)) DO NOTHING"),
  ).rejects.toMatchObject({ code: "42501" });
});

async function run(
  order: "rotate" | "verify" | "migrate" | "restore",
  policy: string,
  versions: readonly number[],
  ...more: readonly string[]
) {
  writeFileSync(join(folder, "policy.yaml"), policy);
  let [output, errors] = ["", ""];
  const status = await tokensColumn(
    order,
    ["public.people.name", "--policy", folder, "--upstream", database.uri, ...more],
    { SLUICE_TOKEN_KEYS: ringText(...versions) },
    { output: { write: (text) => (output += text) }, errors: { write: (text) => (errors += text) } },
  );
  return { status, output, errors };
}

test("searches are added to a column that holds tokens by a new key, without a wrong answer in between", async () => {
  await database.query("TRUNCATE people");
  const before = policyWith("[]");
  const after = policyWith("{ 1: [], 2: [case, words] }");
  sluice.setPolicy(before);
  sealer.use(ring(1));
  for (const [index, name] of NAMES.entries())
    await app.query("INSERT INTO people VALUES ($1, $2)", [index + 1, name]);
  await expect(idsOf(app, "lower(name) = $1", ["x"])).rejects.toMatchObject({ code: "42501" });

  // The policy first: under the first key nothing changes.
  sluice.setPolicy(after);
  expect(await idsOf(app, "name = $1", [NAMES[0]])).toEqual([1]);
  const searches = ["lower(name) = 'anna berg 1234'", "name ILIKE '%berg%'", "name ILIKE $1"];
  const tooEarly = async () => {
    for (const client of [app, lead])
      for (const search of searches)
        await expect(
          idsOf(client, search, search.includes("$1") ? ["%berg%"] : undefined),
        ).rejects.toMatchObject({
          code: "55000",
          hint: expect.stringContaining('"searches:" of class "name"'),
        });
  };
  await tooEarly();
  sealer.use(ring(1, 2));
  await app.query("INSERT INTO people VALUES (4, 'Dora Berg')");
  await tooEarly();
  expect(await idsOf(app, "name = ANY($1)", [[...NAMES, "Dora Berg"]])).toEqual([1, 2, 3, 4]);
  await expect(idsOf(app, "right(name, 4) = '1234'")).rejects.toMatchObject({ code: "42501" });

  expect(await run("verify", after, [1, 2])).toMatchObject({ status: 0 });
  expect(await run("rotate", after, [1, 2], "--dry-run")).toMatchObject({
    output: expect.stringMatching(
      /^3 rows would be changed\nCREATE INDEX ON "public"\."people" [\s\S]*USING gin/,
    ),
  });
  expect(await run("rotate", after, [1, 2])).toMatchObject({ status: 0 });
  await tooEarly();
  sealer.use({ ...ring(1, 2), retired: new Set([1]) });
  for (const client of [app, lead]) {
    expect(await idsOf(client, "lower(name) = 'anna berg 1234'")).toEqual([1]);
    expect(await idsOf(client, "name ILIKE $1", ["%berg%"])).toEqual([1, 3, 4]);
    expect(await idsOf(client, "name = $1", [NAMES[1]])).toEqual([2]);
  }
});

test("tokens that do not carry what the policy says are a finding, and rotate writes them again", async () => {
  await database.query("TRUNCATE people");
  sluice.setPolicy(policyWith("[case]"));
  sealer.use(ring(1));
  for (const [index, name] of NAMES.entries())
    await app.query("INSERT INTO people VALUES ($1, $2)", [index + 1, name]);
  await database.query(
    "UPDATE people SET name = regexp_replace(name, '[.].{16}$', '.AAAAAAAAAAAAAAAA') WHERE id = 2",
  );
  expect(await run("verify", policyWith("[case]"), [1])).toMatchObject({
    status: 1,
    output: expect.stringMatching(
      /^3 tokens of key 1 \(active\)[\s\S]*\n1 tokens do not carry what "searches:" of class "name" says.*tokens rotate public\.people\.name/,
    ),
  });
  expect(await run("rotate", policyWith("[case]"), [1])).toMatchObject({
    status: 0,
    output: expect.stringContaining("1 rows changed"),
  });
  expect(await run("verify", policyWith("[case]"), [1])).toMatchObject({ status: 0 });
  for (const searches of ["[case, words]", "[last4]", "[]", "[words]"]) {
    const policy = policyWith(searches);
    expect(await run("verify", policy, [1])).toMatchObject({
      status: 1,
      output: expect.stringContaining("3 tokens do not carry"),
    });
    expect(await run("rotate", policy, [1], "--dry-run")).toMatchObject({
      output: expect.stringContaining("3 rows would"),
    });
    expect(await run("rotate", policy, [1])).toMatchObject({
      status: 0,
      output: expect.stringContaining("3 rows changed"),
    });
    expect(await run("verify", policy, [1])).toMatchObject({ status: 0 });
    sluice.setPolicy(policy);
    expect(await idsOf(app, "name = $1", [NAMES[1]])).toEqual([2]);
  }
});

test("a unique index on what tokens carry is dropped before values are restored", async () => {
  await database.query("TRUNCATE people");
  const policy = policyWith("[case]");
  sluice.setPolicy(policy);
  sealer.use(ring(1));
  await app.query("INSERT INTO people VALUES (1, 'anna@x.de'), (2, 'ben@x.de')");
  await database.query("CREATE UNIQUE INDEX one_name ON people (split_part(name, '.', 2))");
  onTestFinished(() => database.query("DROP INDEX IF EXISTS one_name; TRUNCATE people").then(() => {}));
  expect(await run("restore", policy, [1])).toMatchObject({
    status: 1,
    errors: expect.stringContaining(
      'the unique index "one_name" is on a part that tokens have and values do not',
    ),
  });
  await database.query("DROP INDEX one_name");
  expect(await run("restore", policy, [1])).toMatchObject({ status: 0 });
  const { rows } = await database.query("SELECT name FROM people ORDER BY id");
  expect(rows).toEqual([{ name: "anna@x.de" }, { name: "ben@x.de" }]);
});

test("what was prepared is prepared again when searches or keys have changed", async () => {
  sealer.use(ring(1));
  await database.query("TRUNCATE people");
  await app.query("INSERT INTO people VALUES (1, 'Anna')");
  const other = await sluice.connect("helpdesk_app");
  onTestFinished(() => other.end());
  const search = {
    name: "again",
    text: "SELECT id FROM people WHERE name ILIKE $1 OR lower(name) = $1",
    values: ["anna"],
  };
  expect((await other.query(search)).rows).toEqual([{ id: "1" }]);
  sealer.use(ring(1, 2));
  await expect(other.query(search)).rejects.toMatchObject({ code: "26000" });
  sealer.use(ring(1));
  expect((await other.query(search)).rows).toEqual([{ id: "1" }]);
  sluice.setPolicy(policyWith("[words]"));
  await expect(other.query(search)).rejects.toMatchObject({ code: "42501" });
});

test("columns that cannot hold what searches ask for are errors, and are not written", async () => {
  const policy = `
version: 1
token_canary: ${CANARY}
classes: { name: { mask: initials, stored: token, searches: { 7: [case] } } }
tables: { public.people: { columns: { name: name } }, public.limited: { columns: { name: name } }, public.bytes: { columns: { name: name } } }
roles: { app: { users: [helpdesk_app], reads: all, writes: all, sees: all } }
`;
  const catalog = await (await sluice.catalogs.of(database.database)).refresh();
  const problems = checkAgainstCatalog(policiesOf(policy).forDatabase("any"), catalog);
  expect(new Set(problems.map(({ severity, message }) => `${severity}: ${message}`))).toEqual(
    new Set(
      [
        ["limited", "character varying(500)"],
        ["bytes", "bytea"],
      ].map(
        ([table, type]) =>
          `error: public.${table}.name is stored as tokens, and its type ${type} cannot hold what "searches:" of class "name" asks for`,
      ),
    ),
  );
  sluice.setPolicy(policy);
  for (const table of ["limited", "bytes"])
    await expect(app.query(`INSERT INTO ${table} VALUES (1, 'x')`)).rejects.toMatchObject({ code: "42501" });
});

/** By hand: SLUICE_LONG=25 for 5,000. */
const RUNS = 200 * Number(process.env.SLUICE_LONG ?? 1);

const LETTERS = [..."aAkK\u212aİıIißẞΣσςéÉⒶⓐ12340 .-'\"%_\\,;|:😀", "e\u0301", "anna", "Berg"];
const TEXT = fc.array(fc.constantFrom(...LETTERS), { maxLength: 9 }).map((parts) => parts.join(""));
const VALUES = fc.sample(TEXT, { numRuns: 120, seed: 43 });

const escaped = (text: string) => text.replaceAll(/[\\%_]/g, "\\$&");
const swapped = (text: string) =>
  [...text].map((one) => (one === one.toLowerCase() ? one.toUpperCase() : one.toLowerCase())).join("");
const last = (text: string) => [...text].slice(-4).join("");
const GIVEN = fc
  .tuple(
    fc.oneof(fc.constantFrom(...VALUES), TEXT),
    fc.subarray([swapped, last, (text: string) => text.toLowerCase()]),
    fc.constantFrom<(text: string) => string>(
      (text) => text,
      escaped,
      (text) => `%${escaped(last(text))}`,
      (text) => `%${text}`,
      (text) => `%${escaped(text)}%`,
      (text) => `%${text}%`,
      (text) => `%${/[\p{L}\p{N}\p{M}]+/u.exec(text)?.[0] ?? "x"}%`,
    ),
  )
  .map(([text, changes, shape]) => shape(changes.reduce((made, change) => change(made), text)));

const FORMS = [
  "lower(v) = V",
  "lower(v) = lower(V)",
  "lower(v) <> lower(V)",
  "NOT lower(v) = V",
  "lower(v) IN (V, lower(V), 'x')",
  "lower(v) NOT IN (V, lower(V))",
  "lower(v) = ANY(ARRAY[V, lower(V)])",
  "v = V OR lower(v) = lower(V)",
  "v ILIKE V",
  "v NOT ILIKE V",
  "NOT (v ILIKE V) OR id = 1",
  "v LIKE V",
  "v NOT LIKE V",
  "right(v, 4) = V",
  "right(v, 4) = right(V, 4)",
  "right(v, 4) <> V",
  "right(v, 4) IN (V, right(V, 4))",
  "v ILIKE V OR right(v, 4) = V OR lower(v) = V",
] as const;

/** What ILIKE finds on tokens: with wildcards at both ends whole words, otherwise what it means. */
const BOTH_ENDS = /^%+(?:[^%_\\]|\\.)+%+$/su;
const ofWords = (text: string) =>
  new Set(
    [...text.normalize("NFC")]
      .map((one) => (one === "İ" ? "i" : one.toLowerCase()))
      .join("")
      .split(/[^\p{L}\p{N}\p{M}]+/u)
      .filter((word) => word !== ""),
  );

test("whatever is searched for, the answer is that of a table in the clear, or the statement is refused", {
  timeout: 60_000 + RUNS * 100,
}, async () => {
  await database.query(
    "CREATE TABLE texts (id bigint PRIMARY KEY, v text); GRANT ALL ON texts TO helpdesk_app, ben",
  );
  sluice.setPolicy(ALL.replace("tables:", "tables:\n  public.texts: { columns: { v: name } }"));
  await (await sluice.catalogs.of(database.database)).refresh();
  const clear = await databaseOn(server.uri, "searches_clear");
  onTestFinished(() => clear.drop());
  await clear.query("CREATE TABLE texts (id bigint PRIMARY KEY, v text)");
  for (const [index, value] of [...VALUES, null].entries()) {
    sealer.use(index % 2 === 0 ? ring(1, 2) : ring(2, 1));
    await app.query("INSERT INTO texts VALUES ($1, $2)", [index, value]);
    await clear.query("INSERT INTO texts VALUES ($1, $2)", [index, value]);
  }
  const sql = postgres(sluice.uri("helpdesk_app"), { max: 1, onnotice: () => {} });
  onTestFinished(() => sql.end());
  let [answered, refused] = [0, 0];
  const words = (text: string) => {
    const asked = ofWords(text.replace(/^%+|(?<!\\)%+$/g, "").replaceAll(/\\(.)/gsu, "$1"));
    return VALUES.flatMap((value, id) => ([...asked].every((word) => ofWords(value).has(word)) ? [id] : []));
  };
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...FORMS),
      GIVEN,
      fc.constantFrom("parameter", "constant", "binary"),
      fc.constantFrom("open", "judged"),
      async (form, given, how, who) => {
        const literal = `'${given.replaceAll("'", "''")}'`;
        const text = (value: string) => `SELECT id FROM texts WHERE ${form.replaceAll("V", value)}`;
        const client = who === "open" ? app : lead;
        const ids = (rows: readonly Record<string, unknown>[]) =>
          rows.map(({ id }) => Number(id)).toSorted((one, other) => one - other);
        const found = await (how === "binary"
          ? sql.unsafe(text("$1"), [given])
          : client
              .query(text(how === "constant" ? literal : "$1"), how === "constant" ? undefined : [given])
              .then(({ rows }) => rows)
        ).catch((error: { code?: string }) => error);
        if (!Array.isArray(found)) {
          expect((found as { code?: string }).code).toMatch(/^(?:42501|0A000)$/);
          refused++;
          return;
        }
        answered++;
        if (form.includes("ILIKE") && BOTH_ENDS.test(given)) {
          const rows = new Set(words(given));
          const all = VALUES.map((_, id) => id);
          const other = ids(
            (await clear.query(text(literal).replace(/v (?:NOT )?ILIKE '(?:[^']|'')*'/su, "false"))).rows,
          );
          const not = all.filter((id) => !rows.has(id));
          const expected =
            form === "v ILIKE V"
              ? [...rows]
              : form === "v NOT ILIKE V"
                ? not
                : form.startsWith("NOT")
                  ? [...new Set([...not, 1])]
                  : [...new Set([...rows, ...other])];
          expect(ids(found)).toEqual(expected.toSorted((one, two) => one - two));
          return;
        }
        expect(ids(found)).toEqual(ids((await clear.query(text(literal))).rows));
      },
    ),
    { numRuns: RUNS, ...(process.env.SLUICE_LONG === undefined && { seed: 43 }) },
  );
  expect(answered).toBeGreaterThan(RUNS / 3);
  expect(refused).toBeGreaterThan(RUNS / 50);
});
