import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { canaryMake } from "../../proxy/commands/canary-make.ts";
import { compilePolicies } from "../../proxy/policy/compile.ts";
import { freshDatabase, supportSchema, type TestDatabase } from "../harness/postgres.ts";

let database: TestDatabase;
let client: pg.Client;

beforeAll(async () => {
  database = await freshDatabase("canary_make");
  await supportSchema(database.uri);
  client = new pg.Client({ connectionString: database.uri });
  await client.connect();
});
afterAll(async () => {
  await client?.end();
  await database?.drop();
});

async function run(...args: readonly string[]) {
  let [output, errors] = ["", ""];
  const streams = {
    output: { write: (text: string) => (output += text) },
    errors: { write: (text: string) => (errors += text) },
  };
  const status = await canaryMake(args, streams, { SLUICE_UPSTREAM: database.uri });
  return { status, output, errors };
}

async function count(): Promise<number> {
  const { rows } = await client.query<{ n: number }>("SELECT count(*)::int AS n FROM public.customers");
  return rows[0]?.n ?? 0;
}

test("decoys are printed as statements that the table takes, and nothing is changed by that", async () => {
  const before = await count();
  const { status, output } = await run("--table", "public.customers", "--count", "5");
  expect(status).toBe(0);
  expect(await count()).toBe(before);
  expect(output.match(/^INSERT INTO /gm)).toHaveLength(5);
  await client.query("BEGIN");
  await client.query(output);
  expect(await count()).toBe(before + 5);
  await client.query("ROLLBACK");
});

test("inserted decoys look like the others, are nobody, and the lines printed are a policy", async () => {
  const before = await count();
  const { status, output, errors } = await run(
    ...[
      "--table",
      "public.customers",
      "--count",
      "12",
      "--insert",
      "--spread",
      "country",
      "--domain",
      "mail.example.org",
    ],
  );
  expect(errors).toBe("");
  expect(status).toBe(0);
  expect(await count()).toBe(before + 12);
  const policy = `version: 1\ntables: { public.customers: { subject: id } }\n${output}`;
  const compiled = compilePolicies([{ name: "p.yaml", text: policy }]);
  if (!compiled.ok) throw new Error(compiled.problems.map(({ message }) => message).join("\n"));
  const { canaries } = compiled.policies.forDatabase("any");
  const ids = [...(canaries?.groups.keys() ?? [])].map((key) => key.split("\0")[1]);
  expect(ids).toHaveLength(12);
  const { rows } = await client.query<Record<string, string>>(
    "SELECT id::text, name, email, country, phone FROM public.customers WHERE id = ANY ($1::bigint[])",
    [ids],
  );
  expect(rows).toHaveLength(12);
  const others = await client.query<{ email: string }>(
    "SELECT email FROM public.customers WHERE id <> ALL ($1::bigint[])",
    [ids],
  );
  const known = new Set(others.rows.map(({ email }) => email));
  for (const { id, name, email, country } of rows) {
    // The group that a leaked decoy names is the value that its row has.
    expect(canaries?.groups.get(`public.customers.id\0${id}`)).toBe(country);
    expect(name).toMatch(/^[A-Z][a-z]+ [A-Z][a-z]+ \d+$/);
    expect(email).toMatch(/^[a-z.0-9]+@mail\.example\.org$/);
    expect(known.has(email ?? "")).toBe(false);
  }
  expect(new Set(rows.map(({ country }) => country)).size).toBe(5);
});

test.each([
  [["--table", "customers"], 2, "--table: name it as in public.customers"],
  [["--table", "public.nothing"], 1, "there is no table public.nothing"],
  [["--table", "public.customers", "--count", "0"], 2, "--count"],
  [["--table", "public.customers", "--spread", "email"], 1, "--spread"],
] as const)("%j is a mistake that is told", async (args, status, message) => {
  const told = await run(...args);
  expect(told.status).toBe(status);
  expect(told.errors).toContain(message);
});
