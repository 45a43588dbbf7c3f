import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import { tokensColumn } from "../../proxy/commands/tokens-column.ts";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { canaryToken } from "../../proxy/tokens/canary.ts";
import type { Sealer } from "../../proxy/tokens/sealed.ts";
import { compileSluice } from "../harness/compiled-program.ts";
import { createRoles, databaseOn, startPostgres, type TestDatabase } from "../harness/postgres.ts";
import { startProxy } from "../harness/proxy.ts";
import { keyLine, sealerOf } from "../harness/token-keys.ts";

const ROWS = 600;
const KEYS = [keyLine(1), keyLine(2)] as const;
const sealer = sealerOf(KEYS[0]);
const POLICY = `
version: 1
token_canary: ${canaryToken(sealer)}
classes:
  email: { mask: email, stored: token }
  mail: { mask: email, stored: email }
  tel: { mask: { last: 2 }, stored: phone }
tables:
  public.old: { columns: { email: email, mail: mail, tel: tel } }
  public.keyless: { columns: { email: email } }
  public.parent: { columns: { email: email } }
  public.narrow: { columns: { email: email } }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
`;

let server: RunningPostgres;
let database: TestDatabase;
let folder: string;

beforeAll(async () => {
  server = await startPostgres({ auth: "trust" });
  await createRoles(server.uri);
  database = await databaseOn(server.uri, "columns");
  folder = mkdtempSync(join(tmpdir(), "sluice-column-"));
  writeFileSync(join(folder, "policy.yaml"), POLICY);
  await database.query(`
    CREATE TABLE keyless (email text);
    CREATE TABLE parent (id bigint PRIMARY KEY, email text UNIQUE);
    CREATE TABLE child (id bigint PRIMARY KEY, parent text REFERENCES parent (email));
    CREATE TABLE narrow (id bigint PRIMARY KEY, email varchar(64));
    INSERT INTO narrow VALUES (1, repeat('long', 10))`);
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await database?.drop();
  await server?.stop();
});

/** What the rows should mean: of each, by its key. */
const value = (id: number) => (id % 10 === 0 ? null : `ü${id}'"\\@example.com`);
const EXPECTED = Array.from({ length: ROWS }, (_, index) => value(index + 1));

beforeEach(async () => {
  await database.query(`
    DROP TABLE IF EXISTS old;
    CREATE TABLE old (id bigint, at timestamptz, email text, mail text UNIQUE, tel varchar(20) UNIQUE, PRIMARY KEY (id, at));
    CREATE INDEX lowered ON old (lower(email));
    GRANT ALL ON old TO helpdesk_app`);
  await database.query(
    "INSERT INTO old SELECT i, '2026-01-01'::timestamptz + i * interval '1 microsecond', v, v, '+49 30 ' || (1000000 + i) FROM unnest($1::text[]) WITH ORDINALITY AS n(v, i)",
    [EXPECTED],
  );
});

const ARGUMENTS = (order: string, column: string) => [
  ...["tokens", order, column, "--policy", folder, "--upstream", database.uri],
];

async function run(
  order: "migrate" | "restore" | "rotate" | "verify",
  column: string,
  ...more: readonly string[]
) {
  let [output, errors] = ["", ""];
  const env = { SLUICE_TOKEN_KEYS: more.includes("both") ? KEYS.join("\n") : KEYS[0] };
  const status = await tokensColumn(
    order,
    [...ARGUMENTS(order, column).slice(2), ...more.filter((each) => each !== "both")],
    env,
    { output: { write: (text) => (output += text) }, errors: { write: (text) => (errors += text) } },
  );
  return { status, output, errors };
}

async function held(column: string): Promise<readonly (string | null)[]> {
  const { rows } = await database.query(`SELECT ${column} AS value FROM old WHERE id <= ${ROWS} ORDER BY id`);
  return rows.map((row) => row.value as string | null);
}

const opened = (by: Sealer, column: string, form: "token" | "email" | "phone") => (token: string | null) =>
  token && by.open(token, { associated: `column public.old.${column}`, form, version: 1 });

test.each([
  ["email", "token"],
  ["mail", "email"],
] as const)("%s is migrated, verified and restored", async (column, form) => {
  expect(await run("verify", `public.old.${column}`)).toMatchObject({
    status: 1,
    output: expect.stringContaining(
      "540 values in the clear\n0 tokens that no key of the ring opens\n60 NULL",
    ),
  });
  expect(await run("migrate", `public.old.${column}`, "--dry-run")).toMatchObject({
    status: 0,
    output: "540 rows would be changed\n",
  });
  expect(await held(column)).toEqual(EXPECTED);
  const done = await run("migrate", `public.old.${column}`, "--batch", "100");
  expect(done).toMatchObject({ status: 0, output: expect.stringContaining("540 rows changed") });
  expect(done.output).toContain("VACUUM FULL");
  expect(done.errors.includes('"lowered"')).toBe(column === "email");
  expect((await held(column)).map(opened(sealer, column, form))).toEqual(EXPECTED);
  expect(await run("migrate", `public.old.${column}`)).toMatchObject({
    output: expect.stringContaining("0 rows"),
  });
  expect(await run("verify", `public.old.${column}`)).toMatchObject({
    status: 0,
    output: expect.stringContaining("540 tokens of key 1 (active)\n0 values in the clear"),
  });
  expect(await run("restore", `public.old.${column}`)).toMatchObject({ status: 0 });
  expect(await held(column)).toEqual(EXPECTED);
});

test("a migration that is stopped at any point is begun again, while applications write", {
  timeout: 60_000,
}, async () => {
  // By hand also a process of its own, killed at once.
  const program = process.env.SLUICE_LONG === undefined ? undefined : await compileSluice();
  const proxy = await startProxy(database, { policy: POLICY, tokens: sealer });
  const app = await proxy.connect("helpdesk_app");
  let isOver = false;
  const written = new Map<number, string>();
  // Rows behind those that are migrated before the last run.
  const writing = (async () => {
    for (let turn = 0; !isOver; turn++) {
      const id = ROWS - ((turn * 37) % (ROWS / 4));
      await app.query("UPDATE old SET email = $1 WHERE id = $2", [`new${turn}@example.com`, id]);
      written.set(id, `new${turn}@example.com`);
      const more = [ROWS + turn + 1, "more@example.com"];
      if (turn % 5 === 0) await app.query("INSERT INTO old (id, at, email) VALUES ($1, now(), $2)", more);
    }
  })();
  onTestFinished(async () => {
    isOver = true;
    await writing.catch(() => undefined);
    await Promise.all([app.end(), proxy.close()]);
  });
  const count = async () => {
    const { rows } = await database.query(
      `SELECT count(*) FROM old WHERE email LIKE 'ü%' AND id <= ${(ROWS * 3) / 4}`,
    );
    return Number(rows[0]?.count);
  };
  const slowly = ["--batch", "20", "--rate", "100"];
  const before = await count();
  for (const done of [20, 60]) {
    const ended = run("migrate", "public.old.email", ...slowly);
    while ((await count()) > before - done);
    await database.query(
      "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sluice tokens migrate'",
    );
    expect(await ended).toMatchObject({
      status: 1,
      errors: expect.stringContaining("terminating connection"),
    });
  }
  if (program !== undefined) {
    const started = spawn(
      process.execPath,
      [program.main, ...ARGUMENTS("migrate", "public.old.email"), ...slowly],
      {
        env: { ...process.env, SLUICE_TOKEN_KEYS: KEYS[0] },
        stdio: "ignore",
      },
    );
    const exit = once(started, "exit");
    while ((await count()) > before - 100);
    started.kill("SIGKILL");
    expect(await exit).toEqual([null, "SIGKILL"]);
  }
  expect(await count()).toBeGreaterThan(0);
  expect(await run("migrate", "public.old.email")).toMatchObject({ status: 0 });
  isOver = true;
  await writing;
  const now = (await held("email")).map(opened(sealer, "email", "token"));
  expect(now).toEqual(EXPECTED.map((old, index) => written.get(index + 1) ?? old));
  expect(await run("verify", "public.old.email")).toMatchObject({ status: 0 });
});

test("tokens of an older key become those of the active one, and what no key opens is reported", async () => {
  await run("migrate", "public.old.email");
  const both = sealerOf(...KEYS);
  await database.query("UPDATE old SET email = 'slt1_7_abcdefghijklmnopqrstuvw' WHERE id = 7");
  expect(await run("verify", "public.old.email", "both")).toMatchObject({
    status: 1,
    output: expect.stringContaining("539 tokens of key 1\n0 values in the clear\n1 tokens that no key"),
  });
  const done = await run("rotate", "public.old.email", "both");
  expect(done).toMatchObject({ status: 1, output: expect.stringContaining("539 rows changed") });
  expect(done.output).toContain("id 7, at ");
  const now = await held("email");
  expect(now[0]).toMatch(/^slt1_2_/);
  expect(now.map(opened(both, "email", "token"))).toEqual(
    EXPECTED.map((old, index) => (index === 6 ? undefined : old)),
  );
});

test("numbers are migrated in one transaction, once, and only if all of them have the form", async () => {
  expect(await run("migrate", "public.old.tel")).toMatchObject({
    status: 2,
    errors: expect.stringContaining("--offline"),
  });
  const before = await held("tel");
  await database.query(
    "UPDATE old SET tel = 'call me' WHERE id = 550; COMMENT ON COLUMN old.tel IS 'telephone'",
  );
  const odd = await run("migrate", "public.old.tel", "--offline");
  expect(odd).toMatchObject({ status: 1, errors: expect.stringContaining("such as those of id 550, at ") });
  expect(odd.errors).not.toContain("call me");
  await database.query(`UPDATE old SET tel = '${before[549]}' WHERE id = 550`);
  expect(await run("migrate", "public.old.tel", "--offline")).toMatchObject({ status: 0 });
  const tokens = await held("tel");
  expect(tokens.map(opened(sealer, "tel", "phone"))).toEqual(before);
  expect(tokens.every((token, index) => token?.startsWith("+49 ") === true && token !== before[index])).toBe(
    true,
  );
  expect(await run("verify", "public.old.tel")).toMatchObject({ status: 0 });
  expect(await run("migrate", "public.old.tel", "--offline")).toMatchObject({ status: 1 });
  expect(await run("restore", "public.old.tel", "--offline")).toMatchObject({ status: 0 });
  expect(await held("tel")).toEqual(before);
  const { rows } = await database.query("SELECT col_description('old'::regclass, 5) AS comment");
  expect(rows).toEqual([{ comment: "telephone" }]);
});

test.each([
  ["public.keyless.email", "no primary key"],
  ["public.parent.email", "public.child refers to it by a foreign key"],
  ["public.narrow.email", "has room for 64"],
  ["public.child.parent", "is not stored as tokens"],
  ["public.none.email", "has no column"],
])("what stands in the way of %s is said, and nothing is changed", async (column, problem) => {
  expect(await run("migrate", column)).toMatchObject({ status: 1, errors: expect.stringContaining(problem) });
});

test("a wrong key ring, and arguments that are not understood, change nothing", async () => {
  const streams = { output: { write: () => {} }, errors: { write: () => {} } };
  const args = [...ARGUMENTS("migrate", "public.old.email").slice(2)];
  expect(await tokensColumn("migrate", args, { SLUICE_TOKEN_KEYS: KEYS[1] }, streams)).toBe(1);
  expect(await tokensColumn("migrate", ["public.old"], {}, streams)).toBe(2);
  expect(
    await tokensColumn("migrate", [...args, "--batch", "0"], { SLUICE_TOKEN_KEYS: KEYS[0] }, streams),
  ).toBe(2);
  expect(await held("email")).toEqual(EXPECTED);
});

test.runIf(process.env.SLUICE_LONG !== undefined)("how fast it is", { timeout: 300_000 }, async () => {
  await database.query(
    "INSERT INTO old SELECT i, now(), 'person' || i || '@example.com' FROM generate_series(10000, 110000) i",
  );
  console.log((await run("migrate", "public.old.email", "--batch", "2000")).output);
});
