import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type pg from "pg";
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import { tokensColumn } from "../../proxy/commands/tokens-column.ts";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { canaryToken } from "../../proxy/tokens/canary.ts";
import { Sealer } from "../../proxy/tokens/sealed.ts";
import { createRoles, databaseOn, startPostgres, type TestDatabase } from "../harness/postgres.ts";
import { startProxy, type TestProxy } from "../harness/proxy.ts";
import { ring, ringText } from "../harness/token-keys.ts";

const ROWS = 300;
const sealer = new Sealer(ring(1));
const POLICY = `
version: 1
token_canary: ${canaryToken(sealer)}
classes:
  email: { mask: email, stored: token, joinable: true, searches: [case] }
  phone: { mask: { last: 4 }, stored: token }
tables:
  public.people: { columns: { email: email } }
  public.tickets: { json: { payload: { customer.email: email, "contacts[*].phone": phone }, raw: { customer.email: email } } }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
`;

let server: RunningPostgres;
let database: TestDatabase;
let folder: string;
let sluice: TestProxy;
let app: pg.Client;

beforeAll(async () => {
  server = await startPostgres({ auth: "trust" });
  await createRoles(server.uri);
  database = await databaseOn(server.uri, "document_columns");
  folder = mkdtempSync(join(tmpdir(), "sluice-documents-"));
  writeFileSync(join(folder, "policy.yaml"), POLICY);
  await database.query(`
    CREATE TABLE people (id bigint PRIMARY KEY, email text);
    CREATE TABLE tickets (id bigint PRIMARY KEY, payload jsonb, raw json);
    GRANT ALL ON people, tickets TO helpdesk_app`);
  sluice = await startProxy(database, { policy: POLICY, tokens: sealer });
  app = await sluice.connect("helpdesk_app");
});
afterAll(async () => {
  await app?.end();
  await sluice?.close();
  rmSync(folder, { recursive: true });
  await database?.drop();
  await server?.stop();
});

const payload = (id: number) =>
  id % 10 === 0
    ? null
    : {
        id,
        customer: { email: `ü${id}'"\\@example.com` },
        contacts: [{ phone: `${id}` }, { phone: null }, []],
      };
const raw = (id: number) =>
  `{ "customer": {"email":"ü${id}@x.de", "\\u0065mail" : "b${id}@x.de"}, "n":1.00 , "n":2}`;
const IDS = Array.from({ length: ROWS }, (_, index) => index + 1);

beforeEach(async () => {
  sealer.use(ring(1));
  await database.query("TRUNCATE tickets, people");
  await database.query(
    "INSERT INTO tickets SELECT i, p::jsonb, r::json FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS n(p, r, i)",
    [IDS.map((id) => payload(id) && JSON.stringify(payload(id))), IDS.map(raw)],
  );
});

async function run(
  order: "migrate" | "restore" | "rotate" | "verify",
  column: string,
  { versions = [1], more = [] as readonly string[] } = {},
) {
  let [output, errors] = ["", ""];
  const args = [column, "--policy", folder, "--upstream", database.uri, ...more];
  const status = await tokensColumn(
    order,
    args,
    { SLUICE_TOKEN_KEYS: ringText(...versions) },
    {
      output: { write: (text) => (output += text) },
      errors: { write: (text) => (errors += text) },
    },
  );
  return { status, output, errors };
}

const held = async (column: string): Promise<readonly (string | null)[]> =>
  (
    await database.query(`SELECT ${column}::text AS value FROM tickets WHERE id <= ${ROWS} ORDER BY id`)
  ).rows.map((row) => row.value as string | null);

test("an index on a value at a constant path does not stand in the way; one on other texts is named", async () => {
  await database.query(`
    CREATE INDEX at_path ON tickets ((payload->'customer'->>'email'));
    CREATE INDEX at_element ON tickets ((payload #>> '{contacts,0,phone}'), (payload->'id'));
    CREATE INDEX whole ON tickets USING gin (payload);
    CREATE INDEX of_text ON tickets (lower(payload->'customer'->>'email'));
    CREATE INDEX of_some ON tickets ((payload->>'id')) WHERE payload::text LIKE '%@x.de%'`);
  onTestFinished(async () => {
    await database.query("DROP INDEX at_path, at_element, whole, of_text, of_some");
  });
  const { errors } = await run("migrate", "public.tickets.payload", { more: ["--dry-run"] });
  expect([...errors.matchAll(/index "(\w+)"/g)].map(([, name]) => name)).toEqual(["of_some", "of_text"]);
});

test("documents are migrated, verified, rotated and restored, and nothing else in them changes", async () => {
  for (const [column, values] of [
    ["payload", 540],
    ["raw", 600],
  ] as const) {
    const name = `public.tickets.${column}`;
    const before = await held(column);
    expect(await run("verify", name)).toMatchObject({
      status: 1,
      output: expect.stringContaining(`${values} values in the clear`),
    });
    const rows = column === "raw" ? ROWS : (ROWS * 9) / 10;
    expect(await run("migrate", name, { more: ["--dry-run"] })).toMatchObject({
      status: 0,
      output: `${rows} rows would be changed\n`,
    });
    expect(await held(column)).toEqual(before);
    expect(await run("migrate", name, { more: ["--batch", "37"] })).toMatchObject({
      status: 0,
      output: expect.stringContaining(`${rows} rows changed`),
    });
    expect((await held(column)).join()).not.toMatch(/@example|@x\.de/);
    expect(await run("verify", name)).toMatchObject({
      status: 0,
      output: expect.stringContaining(`${values} tokens of key 1 (active)\n0 values in the clear`),
    });
    const read = (
      await app.query(
        `SELECT ${column}::${column === "raw" ? "json" : "jsonb"} AS value FROM tickets WHERE id = 7`,
      )
    ).rows;
    expect(read[0].value).toEqual(column === "raw" ? JSON.parse(raw(7)) : payload(7));
    expect(await run("rotate", name, { versions: [1, 2] })).toMatchObject({ status: 0 });
    expect(await run("verify", name, { versions: [1, 2] })).toMatchObject({
      status: 0,
      output: expect.stringContaining(`${values} tokens of key 2 (active)\n0 values in the clear`),
    });
    expect(await run("restore", name, { versions: [1, 2] })).toMatchObject({ status: 0 });
    // Characters may be spelt in another way than before.
    const plain = (texts: readonly (string | null)[]) =>
      texts.map((text) => text?.replaceAll("\\u00fc", "ü") ?? null);
    expect(plain(await held(column))).toEqual(plain(before));
  }
});

test("documents are migrated while applications write, and what they write stays", async () => {
  let isOver = false;
  const written = new Map<number, string>();
  const writing = (async () => {
    for (let turn = 0; !isOver; turn++) {
      const id = ROWS - ((turn * 37) % (ROWS / 2));
      const email = `new${turn}@example.com`;
      if (turn % 2 === 0)
        await app.query("UPDATE tickets SET payload = $1 WHERE id = $2", [{ customer: { email } }, id]);
      else
        await app.query(
          "UPDATE tickets SET payload = jsonb_set(coalesce(payload, '{}'::jsonb) || '{\"customer\": {}}', '{customer,email}', to_jsonb($1::text)) WHERE id = $2",
          [email, id],
        );
      written.set(id, email);
    }
  })();
  onTestFinished(async () => {
    isOver = true;
    await writing.catch(() => undefined);
  });
  const done = await run("migrate", "public.tickets.payload", { more: ["--batch", "10", "--rate", "300"] });
  isOver = true;
  await writing;
  expect(done).toMatchObject({ status: 0 });
  expect(await run("verify", "public.tickets.payload")).toMatchObject({ status: 0 });
  expect(written.size).toBeGreaterThan(10);
  const { rows } = await app.query(
    "SELECT id, payload->'customer'->>'email' AS email FROM tickets WHERE payload IS NOT NULL",
  );
  for (const { id, email } of rows)
    expect(email).toBe(written.get(Number(id)) ?? payload(Number(id))?.customer.email);
});

test("what is no string, or no token of the place, stays and is told", async () => {
  const foreign = sealer.seal("x@example.com", {
    associated: "column of another",
    form: "token",
    version: 1,
  });
  await database.query("UPDATE tickets SET payload = $1 WHERE id = 1", [{ customer: { email: 5 } }]);
  await database.query("UPDATE tickets SET payload = $1 WHERE id = 2", [
    { customer: { email: foreign }, contacts: [{ phone: "1" }] },
  ]);
  expect(await run("migrate", "public.tickets.payload")).toMatchObject({
    status: 1,
    output: expect.stringContaining("2 documents have values"),
  });
  expect(await run("verify", "public.tickets.payload")).toMatchObject({
    status: 1,
    output: expect.stringContaining("1 values in the clear\n1 tokens that no key of the ring opens"),
  });
  const { rows } = await app.query("SELECT payload FROM tickets WHERE id IN (1, 2) ORDER BY id");
  expect(rows.map((row) => row.payload)).toEqual([
    { customer: { email: 5 } },
    { customer: { email: foreign }, contacts: [{ phone: "1" }] },
  ]);
});

test("while keys are rotated, values at a path are found under both, and what takes one token is refused", async () => {
  await app.query("TRUNCATE tickets");
  const document = (email: string) => ({ customer: { email }, contacts: [{ phone: "1" }] });
  await app.query("INSERT INTO tickets (id, payload) VALUES (1, $1)", [document("a@x.de")]);
  sealer.use(ring(1, 2));
  await app.query("INSERT INTO tickets (id, payload) VALUES (2, $1), (3, $2)", [
    document("a@x.de"),
    document("b@x.de"),
  ]);
  const ids = async (where: string, values?: unknown[]) =>
    (await app.query(`SELECT id FROM tickets WHERE ${where} ORDER BY id`, values)).rows.map(({ id }) =>
      Number(id),
    );
  expect(await ids("payload->'customer'->>'email' = 'a@x.de'")).toEqual([1, 2]);
  expect(await ids("payload #>> '{customer,email}' = $1", ["a@x.de"])).toEqual([1, 2]);
  expect(await ids("payload->'customer'->>'email' <> $1", ["a@x.de"])).toEqual([3]);
  expect(await ids("payload->'customer'->>'email' IN ($1, 'b@x.de')", ["a@x.de"])).toEqual([1, 2, 3]);
  expect(await ids("payload->'customer'->>'email' = ANY($1)", [["a@x.de"]])).toEqual([1, 2]);
  for (const [where, values] of [
    ['payload @> \'{"customer": {"email": "a@x.de"}}\''],
    ["payload @> $1", [document("a@x.de")]],
    ["payload->'customer' = (SELECT payload->'customer' FROM tickets WHERE id = 1)"],
    ["payload IN (SELECT payload FROM tickets)"],
  ] as [string, unknown[]?][])
    await expect(ids(where, values)).rejects.toMatchObject({
      code: "55000",
      hint: expect.stringMatching(/./),
    });
  await expect(app.query("SELECT DISTINCT payload FROM tickets")).rejects.toMatchObject({ code: "55000" });
  await expect(
    app.query("SELECT payload->'customer'->>'email', count(*) FROM tickets GROUP BY 1"),
  ).rejects.toMatchObject({ code: "55000" });
  expect(
    (await app.query("SELECT payload FROM tickets ORDER BY id")).rows.map(
      (row) => row.payload.customer.email,
    ),
  ).toEqual(["a@x.de", "a@x.de", "b@x.de"]);
  expect(await run("rotate", "public.tickets.payload", { versions: [1, 2] })).toMatchObject({ status: 0 });
});

test("indexes on a value at a path serve its search, and others are refused", async () => {
  await run("migrate", "public.tickets.payload");
  await database.query(
    "GRANT CREATE ON SCHEMA public TO helpdesk_app; ALTER TABLE tickets OWNER TO helpdesk_app",
  );
  await app.query("CREATE INDEX by_email ON tickets ((payload->'customer'->>'email'))");
  await app.query("CREATE INDEX by_content ON tickets USING gin (payload jsonb_path_ops)");
  await expect(
    app.query("CREATE INDEX ON tickets (lower(payload->'customer'->>'email'))"),
  ).rejects.toMatchObject({
    code: "42501",
    hint: expect.stringContaining("constant path"),
  });
  await app.query("SET enable_seqscan = off");
  onTestFinished(async () => void (await app.query("RESET enable_seqscan")));
  const plan = async (where: string) =>
    JSON.stringify((await app.query(`EXPLAIN SELECT id FROM tickets WHERE ${where}`)).rows);
  expect(await plan("payload->'customer'->>'email' = 'a@x.de'")).toContain("by_email");
  expect(await plan('payload @> \'{"customer": {"email": "a@x.de"}}\'')).toContain("by_content");
});
