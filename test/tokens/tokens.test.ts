import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import type pg from "pg";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { tokens } from "../../proxy/commands/tokens.ts";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { checkAgainstCatalog } from "../../proxy/policy/against-catalog.ts";
import { maskSql, shownText } from "../../proxy/policy/masks/all.ts";
import type { Mask } from "../../proxy/policy/policy.ts";
import { canaryToken } from "../../proxy/tokens/canary.ts";
import {
  bindMessage,
  executeMessage,
  parseMessage,
  syncMessage,
} from "../../proxy/wire/frontend-messages.ts";
import { Frontend, message } from "../../proxy/wire/messages.ts";
import { createRoles, databaseOn, psql, startPostgres, type TestDatabase } from "../harness/postgres.ts";
import { knows, since } from "../harness/postgres-versions.ts";
import { policiesOf, startProxy, type TestProxy } from "../harness/proxy.ts";
import { query } from "../harness/raw-client.ts";
import { startSluice } from "../harness/sluice.ts";
import { keyLine, sealerOf } from "../harness/token-keys.ts";

/** By hand: SLUICE_LONG=100 for a hundred times as many. */
const RUNS = 25 * Number(process.env.SLUICE_LONG ?? 1);

const sealer = sealerOf(keyLine(1, 7));
const sealed = (value: string, associated: string) =>
  sealer.seal(value, { associated, form: "token", version: 1 });

const POLICY = `
version: 1
token_canary: ${canaryToken(sealer)}
classes:
  email: { mask: email, stored: token, joinable: true }
  phone: { mask: { last: 4 }, stored: token }
  name: { mask: initials }
  card: { mask: { last: 4 }, stored: digits }
  tel: { mask: { last: 2 }, stored: phone, joinable: true }
  mail: { mask: email, stored: email }
tables:
  public.people: { subject: id, columns: { email: email, phone: phone, name: name } }
  public.mails: { subject: person, columns: { sender: email } }
  public.loose: { columns: { b: email, d: phone } }
  public.kept: { subject: id, columns: { card: card, tel: tel, mail: mail } }
  public.Σ: { columns: { email: email } }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
  watched: { users: [metabase], reads: all, writes: all, sees: all, watch: true }
  agent: { users: [anna], reads: [public.people, public.mails, public.kept], writes: [public.mails], sees: [name], finds: [email, tel] }
  lead: { users: [ben], reads: [public.people, public.mails, public.loose], writes: [public.people, public.mails, public.loose], sees: [name, email, phone] }
`;

const SETUP = `
  CREATE TABLE people (id bigint PRIMARY KEY, name text, email text UNIQUE, phone varchar(400), note text);
  CREATE TABLE mails (id bigint PRIMARY KEY, person bigint REFERENCES people, sender text, body text);
  CREATE VIEW addresses AS SELECT id, email AS address FROM people;
  CREATE TABLE loose (a text, b text, c text, d text);
  CREATE TABLE kept (id bigint PRIMARY KEY, card varchar(19) CHECK (card ~ '^[0-9 ]+$'), tel text UNIQUE, mail text CHECK (mail LIKE '%_@_%'));
  CREATE TABLE "Σ" (id bigint, email text);
  CREATE TABLE late (id bigint, note text, email text);
  CREATE VIEW notes AS SELECT id, note AS x FROM people;
  CREATE TYPE pair AS (a text, b text);
  CREATE VIEW shouted AS SELECT id, upper(email) AS address FROM people;
  CREATE VIEW filled AS SELECT p.id, coalesce(p.email, '') AS email, coalesce(p.note, '') AS remark, p.note || m.body AS joined,
    length(p.email) AS length FROM people p LEFT JOIN mails m ON m.person = p.id;
  CREATE VIEW refilled AS SELECT id, email AS address, remark || '' AS remark FROM filled;
  CREATE VIEW united AS SELECT id, email, note FROM people UNION ALL SELECT id, email, name FROM people;
  CREATE VIEW counted AS SELECT max(email) AS last, max(note) AS remark, count(email) AS n FROM people GROUP BY name;
  GRANT ALL ON ALL TABLES IN SCHEMA public TO helpdesk_app, metabase, anna, ben;
  GRANT CREATE ON SCHEMA public TO helpdesk_app;
  ALTER TABLE mails OWNER TO helpdesk_app;
`;

let server: RunningPostgres;
let database: TestDatabase;
let sluice: TestProxy;
let app: pg.Client;
let watched: pg.Client;
let agent: pg.Client;
let lead: pg.Client;

beforeAll(async () => {
  server = await startPostgres({ auth: "trust" });
  await createRoles(server.uri);
  database = await databaseOn(server.uri, "tokens");
  await database.query(SETUP);
  sluice = await startProxy(database, { policy: POLICY, tokens: sealer });
  [app, watched, agent, lead] = await Promise.all([
    sluice.connect("helpdesk_app"),
    sluice.connect("metabase"),
    sluice.connect("anna"),
    sluice.connect("ben"),
  ]);
  await app.query(
    "INSERT INTO people VALUES (1, 'Alice Ng', 'alice@example.com', '+49301234567', 'vip'), (2, 'Bob', NULL, NULL, '')",
  );
  await app.query("INSERT INTO people (id, name, email, phone) VALUES ($1, $2, $3, $4)", [
    3,
    "Cleo",
    "cleo@example.com",
    "",
  ]);
  await app.query(
    "INSERT INTO mails VALUES (1, 1, 'alice@example.com', 'hello'), (2, 3, 'cleo@example.com', 'hi')",
  );
});
afterAll(async () => {
  await Promise.all([app, watched, agent, lead].map((client) => client?.end()));
  await sluice?.close();
  await database?.drop();
  await server?.stop();
});

const rowsOf = async (client: pg.Client, text: string, values?: unknown[]) =>
  (await client.query({ text, ...(values && { values }), rowMode: "array" })).rows;
/** What the server itself holds. */
const stored = async (text: string): Promise<readonly Record<string, unknown>[]> =>
  (await database.query(text)).rows;

test("the database holds tokens, and NULL and what has no class as they are", async () => {
  const [alice, bob, cleo] = await stored("SELECT * FROM people WHERE id < 10 ORDER BY id");
  expect(alice).toMatchObject({ name: "Alice Ng", email: expect.stringMatching(/^slt1_1_/), note: "vip" });
  expect(bob).toMatchObject({ email: null, phone: null });
  expect(cleo).toMatchObject({ phone: expect.stringMatching(/^slt1_1_/) });
});

const READS: readonly [string, unknown[]?][] = [
  ["SELECT email FROM people WHERE id = 1"],
  ["SELECT email FROM people WHERE id = $1", [1]],
  ["SELECT p.email FROM people p JOIN mails m ON m.sender = p.email WHERE m.id = 1"],
  ["SELECT email FROM people WHERE email = 'alice@example.com'"],
  ["SELECT email FROM people WHERE email = $1", ["alice@example.com"]],
  ["SELECT email FROM people WHERE email IN ('alice@example.com', 'nobody@example.com')"],
  ["SELECT email FROM people WHERE email = ANY($1)", [["alice@example.com", null]]],
  ["SELECT email FROM people WHERE email = ANY('{alice@example.com}')"],
  ["SELECT email::text FROM people WHERE 'alice@example.com'::text = email"],
  ["WITH w AS (SELECT email AS e FROM people WHERE id = 1) SELECT e FROM w"],
  ["SELECT e FROM (SELECT email AS e, id FROM people) s WHERE id = 1"],
  ["SELECT email FROM people WHERE id = 1 UNION ALL SELECT NULL WHERE false"],
  ["SELECT email FROM people WHERE id = 1 UNION SELECT sender FROM mails WHERE id = 1"],
  ["SELECT address FROM addresses WHERE id = 1"],
  ["SELECT (SELECT email FROM people WHERE id = 1)"],
  ["SELECT coalesce(email) FROM people WHERE id = 1"],
  ["SELECT email FROM people WHERE id = 1 GROUP BY email"],
  ["SELECT DISTINCT email FROM people WHERE id = 1"],
  ["SELECT sender FROM mails WHERE sender IN (SELECT email FROM people WHERE id = 1)"],
];

test.each(READS)("a role that sees the class reads values by %s", async (text, values) => {
  expect(await rowsOf(app, text, values)).toEqual([["alice@example.com"]]);
  expect(await rowsOf(watched, text, values)).toEqual([["alice@example.com"]]);
  if (!text.includes("addresses")) expect(await rowsOf(lead, text, values)).toEqual([["alice@example.com"]]);
});

test("counts and searches that find nobody are those of the values", async () => {
  expect(await rowsOf(app, "SELECT count(email), count(DISTINCT email) FROM people WHERE id < 10")).toEqual([
    ["2", "2"],
  ]);
  expect(
    await rowsOf(app, "SELECT id FROM people WHERE email <> $1 AND id < 10", ["alice@example.com"]),
  ).toEqual([["3"]]);
  expect(await rowsOf(app, "SELECT id FROM people WHERE email = 'Alice@example.com'")).toEqual([]);
  expect(await rowsOf(app, "SELECT id FROM people WHERE phone = ''")).toEqual([["3"]]);
  expect(await rowsOf(app, "SELECT id FROM people WHERE email IS NULL AND id < 10")).toEqual([["2"]]);
});

test("cursors, PREPARE and several statements in one text give values", async () => {
  await app.query(
    "BEGIN; DECLARE c CURSOR FOR SELECT email FROM people WHERE id = 1 UNION SELECT sender FROM mails WHERE id = 1",
  );
  expect(await rowsOf(app, "FETCH ALL FROM c")).toEqual([["alice@example.com"]]);
  await app.query("COMMIT; PREPARE p AS SELECT email FROM people WHERE id = $1");
  expect(await rowsOf(app, "EXECUTE p(1)")).toEqual([["alice@example.com"]]);
  const results = (await app.query(
    "SELECT 1 AS a; SELECT email FROM people WHERE id = 3",
  )) as unknown as pg.QueryResult[];
  expect(results[1]?.rows).toEqual([{ email: "cleo@example.com" }]);
});

test("an agent who does not see the class gets masks of the values, and finds by the exact value", async () => {
  expect(await rowsOf(agent, "SELECT id, name, email, phone FROM people WHERE id < 10 ORDER BY id")).toEqual([
    ["1", "Alice Ng", "a***@example.com", "********4567"],
    ["2", "Bob", null, null],
    ["3", "Cleo", "c***@example.com", ""],
  ]);
  expect(await rowsOf(agent, "SELECT id FROM people WHERE email = 'alice@example.com'")).toEqual([["1"]]);
  expect(await rowsOf(agent, "SELECT id FROM people WHERE email = $1", ["cleo@example.com"])).toEqual([
    ["3"],
  ]);
  expect(
    await rowsOf(agent, "SELECT m.sender FROM mails m JOIN people p ON p.email = m.sender WHERE p.id = 1"),
  ).toEqual([["a***@example.com"]]);
  expect(
    await rowsOf(
      agent,
      "SELECT email FROM people WHERE id = 1 UNION ALL SELECT sender FROM mails WHERE id = 2",
    ),
  ).toEqual(expect.arrayContaining([["a***@example.com"], ["c***@example.com"]]));
  const [[list] = []] = await rowsOf(agent, "SELECT array_agg(email) FROM people WHERE id = 1");
  expect(JSON.stringify(list)).toContain("slt1_1_");
});

test.each([
  ["SELECT id FROM people WHERE phone = '+49301234567'", 'under "finds:"'],
  ["SELECT id FROM people WHERE phone = $1", 'under "finds:"'],
  ["SELECT email = 'alice@example.com' FROM people", "finds"],
  ["SELECT id FROM people WHERE lower(email) = lower('alice@example.com')", "Tokens can be compared"],
  ["SELECT 'alice@example.com' IN (SELECT email FROM people)", "finds"],
  ["SELECT 'alice@example.com' = ANY(SELECT email FROM people)", "finds"],
  ["SELECT CASE email WHEN 'alice@example.com' THEN 1 END FROM people", "finds"],
  ["SELECT nullif(email, 'alice@example.com') IS NULL FROM people", "finds"],
  ["SELECT count(*) FILTER (WHERE email = 'alice@example.com') FROM people", "finds"],
  ["SELECT (email, id) = ('alice@example.com', 1) FROM people", "finds"],
  ["SELECT email FROM people INTERSECT SELECT 'alice@example.com'", "Tokens can be compared"],
  [
    "SELECT p.id FROM people p JOIN (VALUES ('alice@example.com')) v(e) ON p.email = v.e",
    "Compute the value",
  ],
  ["SELECT p.id FROM people p JOIN (VALUES ('alice@example.com')) v(email) USING (email)", ""],
  ["SELECT id FROM people WHERE email LIKE 'a%'", "Tokens can be compared"],
  ["SELECT id FROM people WHERE email = (SELECT email FROM people WHERE id = 1) || ''", ""],
])("an agent learns nothing by %s", async (text, hint) => {
  const values = text.includes("$1") ? ["+49301234567"] : undefined;
  await expect(rowsOf(agent, text, values)).rejects.toMatchObject({
    code: "42501",
    hint: expect.stringContaining(hint),
  });
});

test("what somebody wrote in the clear beside the proxy is hidden from roles that do not see the class", async () => {
  await database.query("INSERT INTO people (id, email) VALUES (70, 'beside@example.com')");
  expect(await rowsOf(agent, "SELECT email FROM people WHERE id = 70")).toEqual([[null]]);
  expect(await rowsOf(app, "SELECT email FROM people WHERE id = 70")).toEqual([["beside@example.com"]]);
});

test.each([
  "SELECT id FROM people WHERE email LIKE 'a%'",
  "SELECT id FROM people WHERE email < 'b'",
  "SELECT substring(email, 1, 3) FROM people",
  "SELECT lower(email) FROM people",
  "SELECT id FROM people ORDER BY email",
  "SELECT email FROM people ORDER BY 1",
  "SELECT id FROM people ORDER BY (email)",
  "SELECT email AS e FROM people ORDER BY e",
  "SELECT max(email) FROM people",
  "SELECT email || 'x' FROM people",
  "SELECT row_number() OVER (ORDER BY email) FROM people",
  "SELECT email::varchar(3) FROM people",
  "SELECT greatest(email, 'a') FROM people",
  "SELECT id FROM people WHERE email BETWEEN 'a' AND 'b'",
  "SELECT id FROM people WHERE email = note",
  "SELECT id FROM people WHERE email = phone",
  "SELECT id FROM people WHERE email = lower('A')",
  "SELECT email FROM people EXCEPT SELECT note FROM people",
  "SELECT id FROM people WHERE email = 'slt1_1_abcdefghijklmnopqrstuvw'",
  "UPDATE people SET email = lower('X')",
  "UPDATE people SET email = note",
  "INSERT INTO people (id, email) SELECT 80, note FROM people",
  "INSERT INTO people (id, email) VALUES (80, 'a' || 'b')",
  "INSERT INTO people (id, email) VALUES (80, 'slt1_1_x')",
  "INSERT INTO people (id, email) SELECT 80, x FROM (VALUES ('b'), ('a')) v(x) ORDER BY x LIMIT 1",
  "INSERT INTO people (id, email) SELECT 80, x AS y FROM (VALUES ('b'), ('a')) v(x) ORDER BY 2 LIMIT 1",
  "UPDATE people SET email = (SELECT 'b' UNION SELECT 'a' ORDER BY 1 LIMIT 1) WHERE id = 1",
  "PREPARE q AS UPDATE people SET email = $1",
])("a role that sees all is refused what tokens cannot do: %s", async (text) => {
  for (const client of [app, watched, lead])
    if (client !== lead || !text.startsWith("PREPARE"))
      await expect(client.query(text)).rejects.toMatchObject({ code: "42501" });
  expect(await rowsOf(app, "SELECT 1")).toEqual([[1]]);
});

test("a refused statement in a block ends the block as an error does, and prepared ones are refused as well", async () => {
  await app.query("BEGIN");
  await expect(
    app.query({ name: "sorted", text: "SELECT id FROM people WHERE id > $1 ORDER BY email", values: [0] }),
  ).rejects.toMatchObject({
    code: "42501",
    hint: expect.stringContaining("Tokens can be compared"),
  });
  await expect(app.query("SELECT 1")).rejects.toMatchObject({ code: "25P02" });
  await app.query("ROLLBACK");
  await expect(app.query("SELECT id FROM people WHERE email = $1 OR note = $1", ["x"])).rejects.toMatchObject(
    { code: "42501" },
  );
});

const WRITES: readonly [string, unknown[]?][] = [
  ["INSERT INTO people (id, email) VALUES (20, 'new@example.com')"],
  ["INSERT INTO people (id, email) VALUES ($1, $2)", [20, "new@example.com"]],
  ["INSERT INTO people (email, id) VALUES ($1::text, 20)", ["new@example.com"]],
  ["INSERT INTO people (id, email) SELECT 20, $1", ["new@example.com"]],
  ["INSERT INTO people (id, email) SELECT v.a, v.b FROM (VALUES (20, 'new@example.com')) v(a, b)"],
  [
    "WITH w(a, b) AS (VALUES (20, $1)) INSERT INTO people (id, email) SELECT a, b FROM w",
    ["new@example.com"],
  ],
  ["INSERT INTO people (id, email) VALUES (20, E'new\\x40example.com')"],
  ["INSERT INTO people (id, email) VALUES (20, U&'new\\0040example.com')"],
  ["INSERT INTO people (id, email) VALUES (20, $$new@example.com$$)"],
  [
    "INSERT INTO people (id, email) VALUES (20, 'x'); UPDATE people SET email = 'new@example.com' WHERE id = 20",
  ],
  [
    "INSERT INTO people (id, email) VALUES (20, 'x') ON CONFLICT (id) DO NOTHING; UPDATE people SET (note, email) = ('n', 'new@example.com') WHERE email = 'x'",
  ],
  [
    "INSERT INTO people (id) VALUES (20); INSERT INTO people (id) VALUES (20) ON CONFLICT (id) DO UPDATE SET email = 'new@example.com'",
  ],
  [
    "INSERT INTO people (id) VALUES (20); INSERT INTO people (id, email) VALUES (20, 'new@example.com') ON CONFLICT (id) DO UPDATE SET email = excluded.email",
  ],
  [
    "INSERT INTO people (id) VALUES (20); UPDATE people SET email = coalesce(email, 'new@example.com') WHERE id = 20",
  ],
  [
    "INSERT INTO people (id) VALUES (20); UPDATE people SET email = CASE id WHEN 20 THEN 'new@example.com' ELSE email END WHERE id = 20",
  ],
  [
    "INSERT INTO people (id) VALUES (20); UPDATE people p SET email = v.e FROM (VALUES (20, 'new@example.com')) v(i, e) WHERE p.id = v.i",
  ],
  [
    "MERGE INTO people p USING (VALUES (20)) v(i) ON p.id = v.i WHEN NOT MATCHED THEN INSERT (id, email) VALUES (v.i, 'new@example.com')",
  ],
];

test.each(WRITES.filter(([text]) => knows(text)))(
  "values are written as tokens by %s",
  async (text, values) => {
    await database.query("DELETE FROM people WHERE id = 20");
    await app.query(text, values);
    const [{ email } = {}] = await stored("SELECT email FROM people WHERE id = 20");
    expect(email).toBe(sealed("new@example.com", "class email"));
    expect(await rowsOf(app, "SELECT email FROM people WHERE id = 20")).toEqual([["new@example.com"]]);
  },
);

test("RETURNING gives values, and a lead writes as an application does", async () => {
  await database.query("DELETE FROM people WHERE id = 20");
  expect(
    await rowsOf(lead, "INSERT INTO people (id, email) VALUES ($1, $2) RETURNING email", [
      20,
      "lead@example.com",
    ]),
  ).toEqual([["lead@example.com"]]);
  expect(await rowsOf(lead, "UPDATE people SET email = 'led@example.com' WHERE id = 20 RETURNING *")).toEqual(
    [["20", null, "led@example.com", null, null]],
  );
  expect(await stored("SELECT email FROM people WHERE id = 20")).toEqual([
    { email: sealed("led@example.com", "class email") },
  ]);
});

test("a unique value stays unique", async () => {
  await expect(
    app.query("INSERT INTO people (id, email) VALUES (21, 'alice@example.com')"),
  ).rejects.toMatchObject({ code: "23505" });
});

test("every text is found again, by prepared statements in text and binary", async () => {
  const text = fc
    .string({ unit: "binary", maxLength: 80 })
    .filter((value) => !value.includes("\0") && !value.startsWith("slt1_"));
  await fc.assert(
    fc.asyncProperty(fc.option(text), fc.boolean(), async (value, isBinary) => {
      await app.query("DELETE FROM people WHERE id = 30");
      const phone = value !== null && isBinary ? Buffer.from(value) : value;
      await app.query({
        name: "write",
        text: "INSERT INTO people (id, phone) VALUES ($1, $2)",
        values: [30, phone],
      });
      const read = {
        name: "read",
        text: "SELECT phone FROM people WHERE id = 30 AND phone IS NOT DISTINCT FROM $1",
        values: [phone],
      };
      expect((await app.query(read)).rows).toEqual([{ phone: value }]);
      const literal = value === null ? "NULL" : app.escapeLiteral(value);
      expect(
        await rowsOf(app, `SELECT id FROM people WHERE id = 30 AND phone IS NOT DISTINCT FROM ${literal}`),
      ).toEqual([["30"]]);
    }),
    { numRuns: RUNS },
  );
}, 60_000);

test("psql writes and reads without knowing, by COPY in both directions and formats", async () => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-tokens-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "people.csv");
  writeFileSync(file, 'id,note,email\n42,"a, ""b""\nc","quoted@example.com"\n43,,\n');
  const lines = [
    "COPY people (id, email, note) FROM STDIN;",
    "40\tcopied@example.com\ttab\\there",
    "41\t\\N\t",
    "\\.",
    `\\copy people (id, note, email) from '${file}' with (format csv, header)`,
    "COPY (SELECT id, email, note FROM people WHERE id IN (40, 41)) TO STDOUT;",
    "COPY (SELECT email, note FROM people WHERE id = 42) TO STDOUT WITH (FORMAT csv, HEADER);",
    "SELECT email FROM people WHERE email = 'quoted@example.com';",
  ];
  const { stdout, stderr } = await psql(["-qAt"], {
    uri: sluice.uri("helpdesk_app"),
    input: `${lines.join("\n")}\n`,
  });
  expect(stderr).toBe("");
  expect(stdout).toBe(
    '40\tcopied@example.com\ttab\\there\n41\t\\N\t\nemail,note\nquoted@example.com,"a, ""b""\nc"\nquoted@example.com\n',
  );
  const rows = await stored("SELECT email FROM people WHERE id BETWEEN 40 AND 43 ORDER BY id");
  expect(rows.map(({ email }) => (email as string | null)?.slice(0, 7) ?? null)).toEqual([
    "slt1_1_",
    null,
    "slt1_1_",
    null,
  ]);
});

test("COPY of a value that begins like a token fails, and leaves nothing behind", async () => {
  const { stderr } = await psql(["-q"], {
    uri: sluice.uri("helpdesk_app"),
    input: "COPY people (id, email) FROM STDIN;\n50\tok@example.com\n51\tslt1_1_x\n\\.\n",
  });
  expect(stderr).toContain("begins like a token of the proxy");
  expect(await rowsOf(app, "SELECT count(*) FROM people WHERE id IN (50, 51)")).toEqual([["0"]]);
});

/** Files of the server's data folder, and rows that a superuser reads beside the proxy, that hold the text. */
async function placesOf(text: string): Promise<readonly string[]> {
  await database.query("ANALYZE; CHECKPOINT; SELECT pg_switch_wal()");
  const files = readdirSync(server.dataFolder, { recursive: true, encoding: "utf8" })
    .map((name) => join(server.dataFolder, name))
    .filter((file) => statSync(file, { throwIfNoEntry: false })?.isFile() === true);
  const { rows } = await database.query("SELECT people::text AS row FROM people");
  const found = files.filter((file) => readFileSync(file).includes(text));
  return [...found, ...rows.map(({ row }) => String(row)).filter((row) => row.includes(text))];
}

const WAYS = (text: string): readonly [string, unknown[]?][] => [
  [`INSERT INTO people (id, email) VALUES (90, '${text}1')`],
  ["INSERT INTO people (id, email) VALUES ($1, $2)", [91, `${text}2`]],
  ["UPDATE people SET email = $1 WHERE id = 91", [`${text}3`]],
  [`UPDATE people SET email = '${text}4' WHERE email = '${text}3'`],
  ["SELECT id FROM people WHERE email = ANY($1)", [[`${text}4`, `${text}5`]]],
  [
    `MERGE INTO people p USING (VALUES (92)) v(i) ON p.id = v.i WHEN NOT MATCHED THEN INSERT (id, email) VALUES (v.i, '${text}6')`,
  ],
  ["DELETE FROM people WHERE id IN (90, 91, 92, 93)"],
];

test("no file of the server and no row beside the proxy holds a value that was written through the proxy", {
  timeout: 60_000,
}, async () => {
  const write = async (client: pg.Client, uri: string, text: string) => {
    for (const [sql, values] of WAYS(text).filter(([text]) => knows(text))) await client.query(sql, values);
    const input = `COPY people (id, email) FROM STDIN;\n93\t${text}7\n\\.\n`;
    expect(await psql(["-q"], { uri, input })).toMatchObject({ stderr: "" });
  };
  await write(app, sluice.uri("helpdesk_app"), "kept-as-token");
  expect(await placesOf("kept-as-token")).toEqual([]);
  const open = await startProxy(database, {
    policy: POLICY.replaceAll(/, stored: \w+|, joinable: true|token_canary.*/g, ""),
  });
  const client = await open.connect("helpdesk_app");
  await client.query("DELETE FROM people WHERE id = 93");
  await write(client, open.uri("helpdesk_app"), "kept-in-clear");
  const places = await placesOf("kept-in-clear");
  expect(places.filter((place) => place.startsWith("/")).length).toBeGreaterThan(1);
  expect(places.filter((place) => place.startsWith("(")).length).toBeGreaterThan(0);
  await client.query("DELETE FROM people WHERE id = 93");
  await client.end();
  await open.close();
});

test("what a view computes from tokens is not searched or sorted by, and what it computes from other columns is", async () => {
  for (const client of [app, watched]) {
    for (const text of [
      "SELECT id FROM filled WHERE email = 'alice@example.com'",
      "SELECT id FROM filled WHERE email LIKE 'alice%'",
      "SELECT id FROM refilled WHERE address = 'alice@example.com'",
      "SELECT id FROM refilled ORDER BY address",
      "SELECT f.id FROM filled f JOIN people p ON p.email = f.email",
      "SELECT remark FROM counted WHERE last = 'alice@example.com'",
      "SELECT id FROM united WHERE email = 'alice@example.com'",
      "SELECT note FROM people UNION SELECT email FROM united",
    ])
      await expect(client.query(text), text).rejects.toMatchObject({ code: "42501" });
    for (const text of [
      "SELECT email FROM filled",
      "SELECT id FROM filled WHERE remark = 'x' AND length > 1 ORDER BY remark, joined",
      "SELECT id FROM refilled WHERE remark LIKE 'x%'",
      "SELECT n FROM counted WHERE remark = 'x' AND n = 1",
    ])
      await client.query(text);
  }
});

test("who does not see a class writes no values of it: a guess could be compared with what others have", async () => {
  for (const [text, values] of [
    ["INSERT INTO mails (id, sender) VALUES (900, 'alice@example.com')", []],
    ["INSERT INTO mails (id, sender) VALUES (900, $1)", ["alice@example.com"]],
    ["INSERT INTO mails (id, sender) SELECT 900, $1", ["alice@example.com"]],
    ["INSERT INTO mails (id) VALUES (900) ON CONFLICT (id) DO UPDATE SET sender = 'alice@example.com'", []],
    ["UPDATE mails SET sender = 'alice@example.com' WHERE id = 1", []],
  ] as const)
    await expect(agent.query(text, [...values]), text).rejects.toMatchObject({ code: "42501" });
  const copied = await psql(["-q"], {
    uri: sluice.uri("anna"),
    input: "COPY mails (id, sender) FROM STDIN;\n900\talice@example.com\n\\.\n",
  });
  expect(copied.stderr).toContain("may not write values of it");
  await agent.query("INSERT INTO mails (id, body) VALUES (900, 'of nobody')");
  expect(await stored("SELECT sender FROM mails WHERE id = 900")).toEqual([{ sender: null }]);
  await database.query("DELETE FROM mails WHERE id = 900");
});

test("a lead copies in and out as an application does", async () => {
  const input =
    "COPY people (id, phone) FROM STDIN;\n60\t+4930\n\\.\nCOPY (SELECT id, phone FROM people WHERE id = 60) TO STDOUT;\n";
  expect(await psql(["-q"], { uri: sluice.uri("ben"), input })).toMatchObject({
    stdout: "60\t+4930\n",
    stderr: "",
  });
  expect(await stored("SELECT phone FROM people WHERE id = 60")).toEqual([
    { phone: sealed("+4930", "column public.people.phone") },
  ]);
  const { stdout } = await psql(["-q"], {
    uri: sluice.uri("anna"),
    input: "COPY (SELECT phone FROM people WHERE id = 1) TO STDOUT;\n",
  });
  expect(stdout).toBe("********4567\n");
});

test("temporary tables may be joined, where it is clear whose columns are meant", async () => {
  await app.query("CREATE TEMPORARY TABLE picked AS SELECT 1::bigint AS id");
  expect(
    await rowsOf(
      app,
      "SELECT p.email FROM picked t JOIN people p ON p.id = t.id WHERE p.email = 'alice@example.com'",
    ),
  ).toEqual([["alice@example.com"]]);
  await expect(
    app.query("SELECT 1 FROM people WHERE EXISTS (SELECT FROM picked WHERE email = 'x')"),
  ).rejects.toMatchObject({ hint: "Write the table before the column." });
});

test("a column that the catalog does not have yet is looked for, and one that is nowhere is not guessed at", async () => {
  await database.query("ALTER TABLE people ADD fresh text");
  await app.query("INSERT INTO people (id, fresh, email) VALUES (99, 'a', 'fresh@example.com')");
  expect(await stored("SELECT fresh, left(email, 5) AS mark FROM people WHERE id = 99")).toEqual([
    { fresh: "a", mark: "slt1_" },
  ]);
  await app.query("DELETE FROM people WHERE id = 99");
  await database.query("ALTER TABLE people DROP fresh");
  await expect(
    app.query("INSERT INTO people (id, never, email) VALUES (99, 'a', 'x')"),
  ).rejects.toMatchObject({ code: "42703" });
});

test("through a pool of server connections values are sealed and opened as well", async () => {
  const pooled = await startProxy(database, { policy: POLICY, tokens: sealer, pool: { size: 1 } });
  const [one, other] = await Promise.all([pooled.connect("helpdesk_app"), pooled.connect("helpdesk_app")]);
  for (const client of [one, other, one]) {
    const read = {
      name: "found",
      text: "SELECT email FROM people WHERE email = $1",
      values: ["cleo@example.com"],
    };
    expect((await client.query(read)).rows).toEqual([{ email: "cleo@example.com" }]);
  }
  await Promise.all([one.end(), other.end()]);
  await pooled.close();
});

const MASKED = [
  "alice@example.com",
  "a@b",
  "no address",
  "",
  " Ann  Lee ",
  "Ünal Öz",
  "x",
  "12345678",
  "😀 emoji@x.de",
  "a\nb@c.d",
  "@x@y",
];
const MASKS: readonly Mask[] = [
  { kind: "null" },
  { kind: "constant", value: "[redacted]" },
  { kind: "initials" },
  { kind: "email" },
  { kind: "first", count: 3 },
  { kind: "last", count: 4 },
  { kind: "token", prefix: "c_" },
  { kind: "hash" },
];

test.each(MASKS)("the proxy masks a value as the database does: $kind", async (mask) => {
  const key = Buffer.alloc(32, 3);
  const made = maskSql(mask, "v.value", { sql: "text", category: "S", name: "text" }, key);
  if (!made.ok) throw new Error(made.problem);
  const { rows } = await database.query(
    `SELECT value, ${made.sql} AS masked FROM unnest($1::text[]) v(value)`,
    [MASKED],
  );
  expect(rows.map(({ value, masked }) => [value, masked])).toEqual(
    MASKED.map((value) => [value, shownText(mask, value, key)]),
  );
});

test("what a column cannot keep of its values is reported, with what would be right", async () => {
  await database.query(
    "CREATE TABLE odd (id bigint PRIMARY KEY, number bigint, short varchar(20), preset text DEFAULT 'x', made text GENERATED ALWAYS AS (upper(preset)) STORED, checked text CHECK (checked LIKE '%@%'))",
  );
  onTestFinished(async () => void (await database.query("DROP TABLE odd")));
  const policy = policiesOf(`
version: 1
token_canary: ${canaryToken(sealer)}
classes: { email: { mask: email, stored: token } }
tables: { public.odd: { columns: { number: email, short: email, preset: email, checked: email } } }
`).forDatabase("any");
  const catalog = await (await sluice.catalogs.of(database.database)).refresh();
  const told = checkAgainstCatalog(policy, catalog).map(({ severity, message }) => `${severity}: ${message}`);
  expect(told).toEqual(
    expect.arrayContaining([
      "error: public.odd.number is stored as tokens, which its type bigint cannot hold",
      "error: public.odd.short is stored as tokens, which its type character varying(20) cannot hold",
      "error: public.odd.preset is stored as tokens, and its default would be stored as it is",
      'error: public.odd.preset is stored as tokens, and "made" is generated from it',
      'warning: public.odd.checked is stored as tokens, and the CHECK "odd_checked_check" will see tokens',
    ]),
  );
});

test.each([
  ["classes: { a: { mask: email, stored: token } }", "the policy has no token_canary"],
  ["classes: { a: { mask: email, joinable: true } }", "has joinable without stored"],
  [
    "token_canary: slt1_1_abc\nclasses: { a: { mask: { sql: 'left(value, 1)' }, stored: token } }",
    "computed by the database",
  ],
  [
    "token_canary: slt1_1_abc\nclasses: { a: { mask: email, stored: token } }\nroles: { r: { users: [x], sees: [{ a: { when: 'true' } }] } }",
    "with a condition",
  ],
])("a policy with %s is refused", (text, problem) => {
  expect(() => policiesOf(`version: 1\n${text}\n`)).toThrow(problem);
});

test("serve does not start with another key ring, or without one", async () => {
  const start = (variables: Record<string, string>) =>
    startSluice({ policy: POLICY, upstream: database.uri, variables });
  await expect(start({})).rejects.toThrow("there is no --token-keys-file");
  const other = { SLUICE_TOKEN_KEYS: keyLine(1, 8) };
  await expect(start(other)).rejects.toThrow("the policy's tokens cannot be read");
  await expect(start({ SLUICE_TOKEN_KEYS: "1 x" })).rejects.toThrow("at least 32 are needed");
});

test("sluice tokens prints a key, and the canary of a key ring", async () => {
  const lines: string[] = [];
  const complaints: string[] = [];
  const streams = {
    output: { write: (text: string) => lines.push(text.trimEnd()) },
    errors: { write: (text: string) => complaints.push(text) },
  };
  expect(await tokens(["key", "--version", "2"], {}, streams)).toBe(0);
  expect(await tokens(["canary"], { SLUICE_TOKEN_KEYS: lines[0] }, streams)).toBe(0);
  expect(lines).toEqual([
    expect.stringMatching(/^2 [0-9a-f]{64}$/),
    expect.stringMatching(/^token_canary: slt1_2_/),
  ]);
  expect(await tokens(["canary"], {}, streams)).toBe(1);
  expect(complaints).toEqual([
    "sluice tokens: the key ring is missing: --token-keys-file FILE, or SLUICE_TOKEN_KEYS\n",
  ]);
});

/** Values in the clear where tokens should be. */
async function leaks(): Promise<readonly unknown[]> {
  const { rows } = await database.query(`
    SELECT * FROM (
      SELECT 'people' AS place, email AS value FROM people UNION ALL SELECT 'people', phone FROM people
      UNION ALL SELECT 'mails', sender FROM mails UNION ALL SELECT 'Σ', email FROM "Σ"
      UNION ALL SELECT 'loose', b FROM loose UNION ALL SELECT 'loose', d FROM loose
    ) held WHERE value LIKE '%clear%'`);
  return rows;
}

async function clear(): Promise<void> {
  await database.query(`
    DELETE FROM people WHERE id >= 100; DELETE FROM mails WHERE id >= 100; TRUNCATE loose, "Σ";
    UPDATE people SET email = NULL, phone = NULL, note = NULL WHERE id = 2`);
}

const NESTED: readonly ((inner: string) => string)[] = [
  (inner) => `SELECT coalesce(x, x) AS x FROM ${inner}`,
  (inner) => `SELECT CASE WHEN x = x THEN x ELSE x END AS x FROM ${inner}`,
  (inner) => `SELECT nullif(x, x) AS x FROM ${inner}`,
  (inner) => `SELECT v.x FROM ${inner} q, LATERAL (VALUES (q.x), (q.x)) v(x)`,
  (inner) => `SELECT x FROM ${inner} q UNION ALL SELECT x FROM ${inner} r`,
  (inner) => `SELECT x FROM ${inner} q NATURAL FULL JOIN ${inner} r`,
  (inner) => `SELECT coalesce((SELECT x FROM ${inner} q), (SELECT x FROM ${inner} r)) AS x`,
];

test.each(NESTED)("what is named twice at each of sixty levels is followed once: %s", async (nest) => {
  const levels = Array.from(
    { length: 60 },
    (_, level) => `a${level + 1} AS MATERIALIZED (${nest(`a${level}`)})`,
  );
  const text = `EXPLAIN WITH a0 AS MATERIALIZED (SELECT email AS x FROM people WHERE id = 1), ${levels.join(", ")} SELECT x FROM a60`;
  for (const client of [app, watched, agent, lead]) expect(await rowsOf(client, text)).not.toEqual([]);
});

test("a recursive query writes tokens, or is refused", async () => {
  onTestFinished(clear);
  const insert = "INSERT INTO loose (a, b) SELECT a, b FROM w";
  await app.query(
    `WITH RECURSIVE w(a, b) AS (SELECT 'x', 'clear' UNION ALL SELECT a || 'x', b FROM w WHERE length(a) < 3) ${insert}`,
  );
  const token = sealed("clear", "class email");
  expect(await stored("SELECT b FROM loose")).toEqual([{ b: token }, { b: token }, { b: token }]);
  for (const client of [app, watched, lead])
    for (const body of [
      "SELECT a || 'x', b || 'x' FROM w",
      "SELECT b, a FROM w",
      "SELECT a, b FROM w WHERE b <> 'x'",
    ])
      await expect(
        client.query(`WITH RECURSIVE w(a, b) AS (SELECT 'x', 'clear' UNION ALL ${body}) ${insert}`),
      ).rejects.toMatchObject({ code: "42501" });
  expect(await leaks()).toEqual([]);
});

test("a value that is used twice is not a token for one of the uses", async () => {
  for (const from of ["w, w v", "w JOIN w v USING (b)"])
    await expect(
      app.query(`WITH w(b) AS (SELECT 'clear') INSERT INTO loose (b, c) SELECT w.b, v.b FROM ${from}`),
    ).rejects.toMatchObject({ code: "42501" });
});

const UNCOUNTED: readonly string[] = [
  "INSERT INTO loose SELECT * FROM source",
  "INSERT INTO loose TABLE source",
  "WITH w AS (SELECT * FROM source) INSERT INTO loose SELECT * FROM w",
  "INSERT INTO loose SELECT ('(x,clear,x,clear)'::loose).*",
  "INSERT INTO loose VALUES (('(x,clear,x,clear)'::loose).*)",
  "INSERT INTO loose (a, c, b) VALUES (('(x,x)'::pair).*, 'clear')",
  `INSERT INTO loose SELECT * FROM json_populate_record(NULL::loose, '{"b":"clear"}')`,
  `INSERT INTO loose SELECT r.* FROM json_populate_record(NULL::loose, '{"b":"clear"}') r`,
  "UPDATE loose SET (a, b) = ROW(z.*, 'x', 'clear') FROM (SELECT) z",
  "UPDATE loose SET (a, b) = (z.*, 'x', 'clear') FROM (SELECT) z",
  "MERGE INTO loose USING source s ON false WHEN NOT MATCHED THEN INSERT VALUES (s.*)",
  "MERGE INTO loose USING (SELECT) s ON false WHEN NOT MATCHED THEN INSERT (a, c, b) VALUES (s.*, 'x', 'x', 'clear')",
  "MERGE INTO loose USING (SELECT 'x', 'clear') s(a, b) ON false WHEN NOT MATCHED THEN INSERT (a, b) VALUES (s.*)",
  "INSERT INTO loose (a) VALUES ('x') ON CONFLICT DO NOTHING; INSERT INTO loose SELECT s.* FROM source s",
  "SELECT a FROM loose, (SELECT) z WHERE (z.*, a, b) = ('x', 'clear')",
  "SELECT a FROM loose, (SELECT) z WHERE (z.*, a, b) IN (SELECT 'x', 'clear')",
];

test("columns that a star counts are not taken for others", async () => {
  for (const client of [app, watched]) {
    await client.query(
      "CREATE TEMPORARY TABLE source AS SELECT 'x' AS a, 'clear' AS b, 'x' AS c, 'clear' AS d",
    );
    for (const text of UNCOUNTED.filter((each) => knows(each)))
      await expect(client.query(text), text).rejects.toMatchObject({ code: "42501" });
    await client.query("DROP TABLE source");
  }
  for (const text of UNCOUNTED.filter((text) => knows(text) && !/source|::|json/.test(text)))
    await expect(lead.query(text), text).rejects.toMatchObject({ code: "42501" });
  expect(await leaks()).toEqual([]);
});

const data = (text: string | Buffer) => message(Frontend.CopyData, Buffer.from(text as string));
const done = message(Frontend.CopyDone, Buffer.alloc(0));

/** What the server says to COPY data in these pieces. */
async function copyIn(text: string, pieces: readonly (string | Buffer)[]): Promise<string> {
  const raw = await sluice.raw("helpdesk_app");
  onTestFinished(() => void raw.socket.destroy());
  raw.send(query(text));
  expect((await raw.next())?.type).toBe("G");
  raw.send(...pieces.map(data), done);
  return await raw.answer();
}

test.each([
  ["\r", ""],
  ["\r", " CSV"],
  ["\r\n", ""],
  ["\r\n", " CSV"],
  ["\n", ""],
])("lines of COPY end as the first one does: %j%s", async (end, format) => {
  const delimiter = format === "" ? "\t" : ",";
  // In text format a header is of Postgres 15.
  for (const header of since(15) || format !== "" ? ["", " HEADER"] : [""]) {
    onTestFinished(clear);
    const rows = ["b@x clear", "c@x clear", "d@x clear"].map(
      (value, index) => `${value}${delimiter}${index}`,
    );
    const text = [...(header === "" ? [] : [`b${delimiter}a`]), ...rows].map((line) => line + end).join("");
    const options = `WITH (FORMAT ${format === "" ? "text" : "csv"}${header === "" ? "" : ", HEADER"})`;
    for (const pieces of [[text], [...text]]) {
      expect(await copyIn(`COPY loose (b, a) FROM STDIN ${options}`, pieces)).toBe("C(COPY 3) Z(I)");
      expect(await leaks()).toEqual([]);
      expect(await rowsOf(app, "SELECT a, b FROM loose")).toEqual([
        ["0", "b@x clear"],
        ["1", "c@x clear"],
        ["2", "d@x clear"],
      ]);
      await clear();
    }
  }
});

test.each([
  ["COPY loose (b) FROM STDIN", "x\ry\n", "E(22P04)"],
  ["COPY loose (b) FROM STDIN", "x\r\ny\n", "E(22P04)"],
  ["COPY loose (b) FROM STDIN CSV", "x\ny\r\n", "E(22P04)"],
  ["COPY loose (b) FROM STDIN", "x\t\\x00y\n", "E(22021)"],
  ["COPY loose (a) FROM STDIN", "x\ty\n", "E(22P04)"],
  ["COPY loose (a, b) FROM STDIN", "x\n", "E(22P04)"],
])("%s is refused %j", async (text, lines, error) => {
  expect(await copyIn(text, [lines])).toBe(`${error} Z(I)`);
});

test("a long line of COPY is gathered once, and only up to a limit", async () => {
  const piece = Buffer.alloc(8192, 97);
  expect(
    await copyIn(
      "COPY loose (b) FROM STDIN",
      Array.from({ length: 250 }, () => piece),
    ),
  ).toBe("E(54000) Z(I)");
});

test("a CSV file of one column has no end but its own", async () => {
  onTestFinished(clear);
  expect(await copyIn("COPY loose (b) FROM STDIN CSV", ["\\.\nclear\n"])).toBe("C(COPY 2) Z(I)");
  expect(await rowsOf(app, "SELECT b FROM loose")).toEqual([["\\."], ["clear"]]);
  expect(await leaks()).toEqual([]);
});

/** With strings of before 9.1 the value ends elsewhere, and the clear text is another one. */
const otherwise = (mark: string) =>
  `INSERT INTO loose (a, c, b) VALUES ('x', '\\' || ', $$clear ${mark}$$) --', 'sealed')`;
const run = (text: string) => [
  parseMessage("", Buffer.from(text)),
  bindMessage("", ""),
  executeMessage("", 0),
];

test("what the settings of the moment make of a text decides, also in one pipeline", async () => {
  onTestFinished(clear);
  const off = "SET standard_conforming_strings = off";
  const client = await sluice.connect("helpdesk_app");
  await client.query(otherwise("known"));
  await client.query(off);
  await expect(client.query(otherwise("known"))).rejects.toMatchObject({ code: "42501" });
  await client.end();
  await expect(app.query(otherwise("known"))).resolves.toMatchObject({ rowCount: 1 });
  const pipelines = [
    [query(off), query(otherwise("simple"))],
    [...run(off), ...run(otherwise("extended")), syncMessage],
    [...run(off), syncMessage, ...run(otherwise("synced")), syncMessage],
    [query("SELECT set_config('standard_conforming_strings', 'off', false)"), query(otherwise("function"))],
    [...run("BEGIN"), ...run("/* x */ SET client_encoding = 'LATIN1'"), ...run(otherwise("ü")), syncMessage],
  ];
  for (const user of ["helpdesk_app", "metabase"])
    for (const messages of pipelines) {
      const raw = await sluice.raw(user);
      raw.send(...messages);
      let answer = await raw.answer();
      if (!answer.includes("E(")) answer = await raw.answer();
      expect(answer).toContain("E(42501)");
      raw.socket.destroy();
    }
  expect(await leaks()).toEqual([]);
});

test("a pipeline that changes no setting writes any text", async () => {
  onTestFinished(clear);
  const raw = await sluice.raw("helpdesk_app");
  const insert = "INSERT INTO loose (b) VALUES ('\\ü clear')";
  raw.send(...run("BEGIN"), ...run(insert), ...run(insert), ...run("COMMIT"), syncMessage, query(insert));
  expect(await raw.answer()).not.toContain("E(");
  expect(await raw.answer()).toBe("C(INSERT 0 1) Z(I)");
  raw.socket.destroy();
  expect(await rowsOf(app, "SELECT DISTINCT b FROM loose")).toEqual([["\\ü clear"]]);
  expect(await leaks()).toEqual([]);
});

test("a value that is no text of the database's encoding is refused as the server would", async () => {
  for (const value of [Buffer.from([0x61, 0xff]), Buffer.from("a\0b")])
    await expect(app.query("INSERT INTO loose (b) VALUES ($1)", [value])).rejects.toMatchObject({
      code: "22021",
    });
});

test("what was prepared is looked at again when the catalog or the policy has changed", async () => {
  const catalog = await sluice.catalogs.of(database.database);
  const live = await sluice.connect("helpdesk_app");
  onTestFinished(async () => {
    sluice.setPolicy(POLICY);
    await live.end();
    await database.query("ALTER TABLE late NO INHERIT people").catch(() => undefined);
    await database.query("CREATE OR REPLACE VIEW notes AS SELECT id, note AS x FROM people");
    await catalog.refresh();
    await clear();
  });
  const view = { name: "view", text: "INSERT INTO notes (id, x) VALUES ($1, $2)" };
  const table = { name: "table", text: "INSERT INTO mails (id, sender, body) VALUES ($1, $2, 'clear')" };
  await live.query({ ...view, values: [100, "note"] });
  await live.query({ ...table, values: [100, "clear"] });
  await database.query("CREATE OR REPLACE VIEW notes AS SELECT id, email AS x FROM people");
  await catalog.refresh();
  await expect(live.query({ ...view, values: [101, "clear"] })).rejects.toMatchObject({ code: "26000" });
  await live.query({ ...view, name: "again", values: [101, "clear"] });
  await live.query({ ...table, values: [101, "clear"] });
  sluice.setPolicy(POLICY.replace("columns: { sender: email }", "columns: { sender: email, body: phone }"));
  await expect(live.query({ ...table, values: [102, "clear"] })).rejects.toMatchObject({ code: "26000" });
  expect(await leaks()).toEqual([]);
});

test("definitions that would store values by themselves, or hide a way to the column, are refused", async () => {
  for (const text of [
    "CREATE TEMPORARY VIEW hidden AS SELECT a, b FROM loose",
    "CREATE VIEW pg_temp.hidden AS SELECT a, b FROM loose",
    "CREATE TEMPORARY TABLE mine (a text); CREATE VIEW hidden AS SELECT a, b FROM loose WHERE a IN (SELECT a FROM mine)",
    "CREATE RULE also AS ON INSERT TO mails DO ALSO INSERT INTO loose (b) VALUES ('clear')",
    "ALTER TABLE mails ALTER sender SET DEFAULT 'clear'",
    "ALTER TABLE mails ALTER sender TYPE text USING 'clear' || id",
    "ALTER TABLE mails RENAME sender TO old; ALTER TABLE mails ADD sender text DEFAULT 'clear'",
    "ALTER TABLE mails ADD COLUMN sender text GENERATED ALWAYS AS ('clear') STORED",
    "CREATE TABLE child (b text DEFAULT 'clear') INHERITS (loose)",
    "CREATE SCHEMA own CREATE VIEW v AS SELECT b FROM loose",
    "CREATE VIEW clear_ones AS SELECT a FROM loose WHERE b LIKE 'clear%'",
  ])
    await expect(app.query(text), text).rejects.toMatchObject({ code: "42501" });
  await app.query(
    "ALTER TABLE mails ALTER sender SET DEFAULT NULL, ALTER sender TYPE text USING sender::text",
  );
  expect(await leaks()).toEqual([]);
});

test("a view that was created a moment ago is written with tokens, or not at all", async () => {
  onTestFinished(async () => {
    await app.query("ROLLBACK; DROP VIEW IF EXISTS fresh; DROP TABLE IF EXISTS child");
    await clear();
  });
  const make = "CREATE VIEW fresh AS SELECT a, b, d FROM loose WHERE b IS DISTINCT FROM 'clear me'";
  await app.query("BEGIN");
  await app.query(make);
  await expect(app.query("INSERT INTO fresh VALUES ('x', 'clear')")).rejects.toMatchObject({ code: "42501" });
  await app.query("ROLLBACK");
  await expect(app.query(`${make}; INSERT INTO fresh VALUES ('x', 'clear')`)).rejects.toMatchObject({
    code: "42501",
  });
  await expect(
    app.query("CREATE TABLE child () INHERITS (loose); INSERT INTO child (b) VALUES ('clear')"),
  ).rejects.toMatchObject({ code: "42501" });
  await app.query(make);
  await app.query("INSERT INTO fresh VALUES ('x', 'clear'), ('y', 'clear me')");
  await app.query("INSERT INTO fresh VALUES ('x', $1)", ["clear"]);
  expect(await rowsOf(app, "SELECT b FROM fresh")).toEqual([["clear"], ["clear"]]);
  expect(await leaks()).toEqual([]);
});

test("names are folded as the server folds them", async () => {
  onTestFinished(clear);
  await app.query("INSERT INTO Σ (id, EMAIL) VALUES (1, 'clear')");
  await app.query('INSERT INTO public."Σ" (id, email) VALUES (2, $1)', ["clear"]);
  expect(await leaks()).toEqual([]);
});

/** By hand: SLUICE_LONG=100 for a hundred times as many. */
const STATEMENTS = 60 * Number(process.env.SLUICE_LONG ?? 1);

/** Relations to take rows from, some with columns that only the server counts. */
const RELATIONS: readonly string[] = [
  "(SELECT) z",
  "(SELECT 'clear') z(a)",
  "(VALUES ('clear', 'clear'), ('x', NULL)) z(a, b)",
  "(SELECT 'clear' AS a, 'clear' AS b UNION ALL SELECT a, b FROM loose) z",
  "source z",
  "loose z",
  "fixed z",
  "(SELECT a, c FROM loose) z(a, b)",
  `json_populate_record(NULL::loose, '{"a": "clear", "b": "clear"}') z`,
  'json_to_record(\'{"a": "clear", "b": "clear"}\') z(a text, b text)',
  "unnest(ARRAY['clear', 'x']) z(a)",
  "(SELECT coalesce(b, 'clear') AS a, nullif(d, 'clear') AS b FROM loose) z",
  "(source CROSS JOIN (SELECT 'clear' AS e) y) z",
  "(SELECT DISTINCT 'clear' AS a, b FROM loose ORDER BY a LIMIT 3) z",
];
const ITEMS: readonly string[] = [
  ...[
    "'clear'",
    "'x'",
    "NULL",
    "z.*",
    "z.a",
    "z.b",
    "b",
    "z",
    "DEFAULT",
    "upper('clear')",
    "'clear'::varchar",
  ],
  ...["('(clear,clear)'::pair).*", "(SELECT 'clear')", "(SELECT z.b)", "CASE WHEN true THEN 'clear' END"],
  ...["coalesce(z.b, 'clear')", "nullif(z.a, 'x')", "(ARRAY['clear'])[1]", "(z).*", "(z).b", "E'clear\\x20'"],
  ...[
    "$$clear$$",
    "'clear' COLLATE \"C\"",
    "greatest('clear', 'x')",
    "excluded.a",
    "(SELECT a FROM source LIMIT 1)",
  ],
];

const columns = fc.shuffledSubarray(["a", "b", "c", "d"], { minLength: 1 });
const item = fc.constantFrom(...ITEMS);
const items = fc.array(item, { minLength: 1, maxLength: 4 });
const from = fc.constantFrom(...RELATIONS);
const into = fc.oneof(
  fc.constant("loose"),
  columns.map((names) => `loose (${names.join(", ")})`),
);
const target = fc.constantFrom("loose", "public.loose", "loosened", "ONLY loose", "child");

const write = fc.oneof(
  fc
    .tuple(into, items, from)
    .map(([to, list, rows]) => `INSERT INTO ${to} SELECT ${list.join(", ")} FROM ${rows}`),
  fc
    .tuple(into, items, items)
    .map(([to, one, other]) => `INSERT INTO ${to} VALUES (${one.join(", ")}), (${other.join(", ")})`),
  fc.tuple(into, items).map(([to, list]) => `INSERT INTO ${to} VALUES (${list.join(", ")})`),
  fc.tuple(into, from).map(([to, rows]) => `INSERT INTO ${to} SELECT * FROM ${rows}`),
  fc
    .tuple(into, items, from)
    .map(
      ([to, list, rows]) =>
        `WITH w AS (SELECT ${list.join(", ")} FROM ${rows}) INSERT INTO ${to} SELECT * FROM w`,
    ),
  fc
    .tuple(into, items, from)
    .map(
      ([to, list, rows]) =>
        `WITH RECURSIVE w(a, b) AS (SELECT 'x', 'clear' UNION SELECT ${list.join(", ")} FROM w z) INSERT INTO ${to} SELECT a, b FROM w, ${rows.replace(/z$/, "y")}`,
    ),
  fc
    .tuple(into, items, columns, items)
    .map(
      ([to, list, set, values]) =>
        `INSERT INTO ${to} VALUES (${list.join(", ")}) ON CONFLICT (a) DO UPDATE SET (${set.join(", ")}) = ROW(${values.join(", ")})`,
    ),
  fc
    .tuple(target, columns, items, from)
    .map(
      ([to, set, list, rows]) =>
        `UPDATE ${to} SET (${set.join(", ")}) = ROW(${list.join(", ")}) FROM ${rows}`,
    ),
  fc
    .tuple(target, columns, items, from)
    .map(
      ([to, set, list, rows]) =>
        `UPDATE ${to} SET (${set.join(", ")}) = (SELECT ${list.join(", ")} FROM ${rows} LIMIT 1)`,
    ),
  fc
    .tuple(target, columns, item, from)
    .map(([to, [set = "b"], value, rows]) => `UPDATE ${to} SET ${set} = ${value} FROM ${rows}`),
  fc
    .tuple(target, items, from, columns, fc.boolean())
    .map(
      ([to, list, rows, names, hasNames]) =>
        `MERGE INTO ${to} t USING ${rows} ON false WHEN NOT MATCHED THEN INSERT ${hasNames ? `(${names.join(", ")})` : ""} VALUES (${list.join(", ")})`,
    ),
  fc
    .tuple(target, columns, items, from)
    .map(
      ([to, names, list, rows]) =>
        `MERGE INTO ${to} t USING ${rows} ON true WHEN MATCHED THEN UPDATE SET (${names.join(", ")}) = ROW(${list.join(", ")})`,
    ),
);

test("whatever is written, by whatever statement, no column with tokens holds a value in the clear", async () => {
  await database.query(`
    CREATE VIEW loosened AS SELECT d, c, b, a FROM loose;
    CREATE TABLE child () INHERITS (loose);
    CREATE TABLE fixed AS SELECT 'clear' AS a, 'clear' AS b;
    CREATE UNIQUE INDEX ON loose (a);
    GRANT ALL ON loosened, child, fixed TO helpdesk_app, metabase, ben`);
  await (await sluice.catalogs.of(database.database)).refresh();
  onTestFinished(async () => {
    await database.query("DROP VIEW loosened; DROP TABLE child, fixed");
    await clear();
  });
  for (const client of [app, watched])
    await client.query(
      "CREATE TEMPORARY TABLE source AS SELECT 'clear' AS a, 'clear' AS b, 'clear' AS c, 'clear' AS d",
    );
  let written = 0;
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(app, watched, lead),
      fc.array(write, { minLength: 1, maxLength: 3 }),
      async (client, texts) => {
        await database.query("TRUNCATE loose, child; INSERT INTO loose (a) VALUES ('x')");
        for (const text of texts) {
          const result = await client.query(text).catch(() => undefined);
          if ((result?.rowCount ?? 0) > 0) written++;
        }
        expect(await leaks()).toEqual([]);
      },
    ),
    { numRuns: STATEMENTS },
  );
  expect(written).toBeGreaterThan(STATEMENTS / 20);
}, 600_000);

test("numbers and addresses keep their format in the database, and are read, found and masked as values", async () => {
  await app.query(
    "INSERT INTO kept VALUES (1, '4111 1111 1111 1111', '+49 30 1234567', 'alice@example.com')",
  );
  await app.query("INSERT INTO kept VALUES ($1, $2, $3, $4)", [
    2,
    "4000000000000002",
    "030/7654321",
    "bob@example.com",
  ]);
  expect(await copyIn("COPY kept (id, tel) FROM STDIN", ["3\t+353 1 234 5678\n"])).toBe("C(COPY 1) Z(I)");
  const held = await stored("SELECT card, tel, mail FROM kept ORDER BY id");
  expect(held).toEqual([
    {
      card: expect.stringMatching(/^\d{4} \d{4} \d{4} \d{4}$/),
      tel: expect.stringMatching(/^\+49 \d{2} \d{7}$/),
      mail: expect.stringMatching(/^slt1-1-[a-z2-7]+@[a-z2-7]+\.token\.invalid$/),
    },
    {
      card: expect.stringMatching(/^\d{16}$/),
      tel: expect.stringMatching(/^\d{3}\/\d{7}$/),
      mail: expect.anything(),
    },
    { card: null, tel: expect.stringMatching(/^\+353 \d \d{3} \d{4}$/), mail: null },
  ]);
  expect(JSON.stringify(held)).not.toMatch(/1111 1111|1234567|7654321|234 5678|example/);
  const alice = ["4111 1111 1111 1111", "+49 30 1234567", "alice@example.com"];
  for (const client of [app, watched]) {
    expect(await rowsOf(client, "SELECT card, tel, mail FROM kept WHERE tel = '+49 30 1234567'")).toEqual([
      alice,
    ]);
    expect(
      await rowsOf(client, "SELECT card, tel, mail FROM kept WHERE mail = $1", ["alice@example.com"]),
    ).toEqual([alice]);
    expect(await rowsOf(client, "SELECT id FROM kept WHERE card IN ('4000000000000002')")).toEqual([["2"]]);
    expect(await rowsOf(client, "SELECT max(id), count(DISTINCT tel) FROM kept")).toEqual([["3", "3"]]);
  }
  expect(await rowsOf(agent, "SELECT card, tel, mail FROM kept WHERE id = 1")).toEqual([
    ["***************1111", "************67", "a***@example.com"],
  ]);
  expect(await rowsOf(agent, "SELECT id FROM kept WHERE tel = $1", ["030/7654321"])).toEqual([["2"]]);
  await expect(app.query("INSERT INTO kept (id, tel) VALUES (4, '030/7654321')")).rejects.toMatchObject({
    code: "23505",
  });
});

test("a value without the form of its column is refused, and one beside the proxy is not shown to an agent", async () => {
  for (const text of ["'12345'", "'none'", "''", "$1"])
    await expect(
      app.query(`INSERT INTO kept (id, tel) VALUES (5, ${text})`, text === "$1" ? ["call me"] : []),
    ).rejects.toMatchObject({ code: "22023", hint: expect.stringContaining("stored: token") });
  expect(await copyIn("COPY kept (id, tel) FROM STDIN", ["5\tnone\n"])).toBe("E(22023) Z(I)");
  await expect(
    app.query("INSERT INTO kept (id, mail) VALUES (5, 'slt1-1-abc@token.invalid')"),
  ).rejects.toMatchObject({
    code: "42501",
  });
  await database.query("INSERT INTO kept VALUES (6, NULL, 'ask Bob', 'beside@example.com')");
  expect(await rowsOf(agent, "SELECT tel, mail FROM kept WHERE id = 6")).toEqual([[null, null]]);
  expect(await rowsOf(app, "SELECT tel, mail FROM kept WHERE id = 6")).toEqual([
    ["ask Bob", "beside@example.com"],
  ]);
  const catalog = await (await sluice.catalogs.of(database.database)).refresh();
  await database.query("CREATE TABLE brief (id bigint, tel varchar(5))");
  onTestFinished(async () => void (await database.query("DROP TABLE brief")));
  const policy = policiesOf(`
version: 1
token_canary: ${canaryToken(sealer)}
classes: { tel: { mask: { last: 2 }, stored: phone } }
tables: { public.brief: { columns: { tel: tel } } }
`).forDatabase("any");
  const now = await (await sluice.catalogs.of(database.database)).refresh();
  expect(checkAgainstCatalog(policy, now).map(({ hint }) => hint)).toEqual([
    expect.stringContaining("could be guessed"),
  ]);
  expect(catalog).not.toBe(now);
});
