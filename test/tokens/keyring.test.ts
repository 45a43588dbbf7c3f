import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { kmsNamed, wrappedKey } from "../../proxy/keys/kms/kms.ts";
import { canaryToken } from "../../proxy/tokens/canary.ts";
import { Sealer } from "../../proxy/tokens/sealed.ts";
import { type StandIn, startVault, VAULT_TOKEN } from "../harness/kms.ts";
import { createRoles, databaseOn, startPostgres, type TestDatabase } from "../harness/postgres.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";

const SECRETS = [1, 2].map((version) => [version, Buffer.alloc(32, version)] as const);
const sealerOf = (active: number) => new Sealer({ active, secrets: new Map(SECRETS) });
const policyBy = (active: number) => `
version: 1
token_canary: ${canaryToken(sealerOf(active))}
classes:
  email: { mask: email, stored: token }
tables:
  public.people: { columns: { email: email } }
roles:
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
`;

let server: RunningPostgres;
let database: TestDatabase;
let vault: StandIn;
let folder: string;
let ring: string;
/** Lines of a ring, by version. */
let wrapped: readonly string[];

beforeAll(async () => {
  server = await startPostgres({ auth: "trust" });
  await createRoles(server.uri);
  database = await databaseOn(server.uri, "keyring");
  await database.query(
    "CREATE TABLE people (id bigint PRIMARY KEY, email text); GRANT ALL ON people TO helpdesk_app",
  );
  vault = await startVault();
  folder = mkdtempSync(join(tmpdir(), "sluice-keyring-"));
  ring = join(folder, "ring");
  const name = `vault:${vault.url}/engines/transit/sluice?namespace=team/data`;
  const kms = kmsNamed(name, {
    credentials: VAULT_TOKEN,
    ca: undefined,
    endpoint: undefined,
    env: {},
    now: Date.now,
  });
  wrapped = await Promise.all(
    SECRETS.map(async ([version, secret]) => `${version} ${name} ${await wrappedKey(kms, secret)}`),
  );
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await vault?.close();
  await database?.drop();
  await server?.stop();
});
beforeEach(async () => {
  vault.answers = undefined;
  await database.query("TRUNCATE people");
});

const write = (...lines: readonly (string | undefined)[]) =>
  writeFileSync(ring, `${lines.join("\n")}\n`, { mode: 0o600 });
const start = (policy = policyBy(1)) =>
  startSluice({
    policy,
    upstream: database.uri,
    flags: ["--token-keys-file", ring],
    variables: { SLUICE_KMS_CREDENTIALS: VAULT_TOKEN },
  });
async function clientOf(sluice: TestSluice): Promise<pg.Client> {
  const client = new pg.Client(sluice.uriFor("helpdesk_app"));
  await client.connect();
  onTestFinished(() => client.end());
  return client;
}
const held = async () =>
  (await database.query("SELECT email FROM people ORDER BY id")).rows.map((row) => String(row.email));

test("without an answer of the KMS, serve does not start, and its message holds no secret", async () => {
  write(wrapped[0]);
  for (const [answers, problem] of [
    [{ status: 503, body: '{"errors":["Vault is sealed"]}' }, "Vault is sealed"],
    [
      { status: 200, body: JSON.stringify({ data: { plaintext: Buffer.alloc(32, 9).toString("base64") } }) },
      "the policy's tokens cannot be read",
    ],
  ] as const) {
    vault.answers = answers;
    const refused: Error = await start().then(
      () => new Error("it has started"),
      (error: unknown) => error as Error,
    );
    expect(refused.message).toContain(problem);
    expect(refused.message).not.toContain(VAULT_TOKEN);
    expect(refused.message).not.toContain(Buffer.alloc(32, 9).toString("base64").slice(0, 20));
  }
});

test("values are sealed under an unwrapped key; a reload brings another, and prepared statements of the old one", async () => {
  write(wrapped[0]);
  const sluice = await start();
  onTestFinished(() => sluice.close());
  const app = await clientOf(sluice);
  const insert = (id: number) =>
    app.query({
      name: "insert",
      text: "INSERT INTO people VALUES ($1, $2)",
      values: [id, `p${id}@example.com`],
    });
  await insert(1);
  write(...wrapped, "active 1");
  await sluice.reload();
  await insert(2);
  write(...wrapped);
  await sluice.reload();
  await insert(3);
  expect((await held()).map((token) => token.slice(0, 7))).toEqual(["slt1_1_", "slt1_1_", "slt1_2_"]);
  const { rows } = await app.query("SELECT email FROM people ORDER BY id");
  expect(rows.map(({ email }) => email)).toEqual(["p1@example.com", "p2@example.com", "p3@example.com"]);
});

test.each([
  ["a KMS that is away", () => [...wrapped, "active 2"], { status: 503, body: "" }, "status 503"],
  ["a ring that is not the policy's", () => [wrapped[1]], undefined, "no key of its version"],
  ["a ring without a key", () => ["# nothing"], undefined, "there is no key"],
] as const)(
  "a reload with %s keeps the keys in force, and the log says why",
  async (_, lines, answers, problem) => {
    write(wrapped[0]);
    const sluice = await start();
    onTestFinished(() => sluice.close());
    const app = await clientOf(sluice);
    write(...lines());
    vault.answers = answers;
    await sluice.reload();
    expect(sluice.lines.filter((line) => line.includes('"level":"error"')).join()).toContain(problem);
    expect(sluice.lines.join()).not.toContain(VAULT_TOKEN);
    await app.query("INSERT INTO people VALUES (1, 'p1@example.com')");
    expect(await held()).toEqual([expect.stringMatching(/^slt1_1_/)]);
  },
);

test("a ring and the policy that belongs to it may come with one reload", async () => {
  write(...wrapped, "active 1");
  const sluice = await start();
  onTestFinished(() => sluice.close());
  write(wrapped[1]);
  await sluice.setPolicy(policyBy(2));
  const app = await clientOf(sluice);
  await app.query("INSERT INTO people VALUES (1, 'p1@example.com')");
  expect(await held()).toEqual([expect.stringMatching(/^slt1_2_/)]);
  expect(sluice.lines.filter((line) => line.includes('"level":"error"'))).toEqual([]);
});
