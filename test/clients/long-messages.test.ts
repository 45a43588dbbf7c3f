import { randomBytes } from "node:crypto";
import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freshDatabase, PASSWORDS, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";

const POLICY = `
version: 1
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
roles:
  agent: { users: [anna], reads: all, rows: 100 }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all, budget: none }
`;

let database: TestDatabase;
let sluice: TestSluice;
beforeAll(async () => {
  database = await freshDatabase("long-messages");
  await supportSchema(database.uri);
  sluice = await startSluice({ policy: POLICY, upstream: database.uri });
});
afterAll(async () => {
  await sluice?.close();
  await database?.drop();
});

const ATTACHMENT = randomBytes(70 * 2 ** 20);

async function lengthOf(user: "anna" | "helpdesk_app"): Promise<unknown> {
  const client = new pg.Client({ connectionString: sluice.uriFor(user, PASSWORDS[user]) });
  client.on("error", () => {});
  await client.connect();
  try {
    const { rows } = await client.query("SELECT length($1::bytea) AS n", [ATTACHMENT]);
    return rows[0]?.n;
  } finally {
    await client.end().catch(() => {});
  }
}

test("an application stores an attachment of 70 MB, as it does directly", async () => {
  expect(await lengthOf("helpdesk_app")).toBe(ATTACHMENT.length);
});

test("a guarded role's message that is too long is refused in words that name the setting", async () => {
  await expect(lengthOf("anna")).rejects.toMatchObject({
    code: "08P01",
    hint: expect.stringContaining("--max-message"),
  });
});
