import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { freshDatabase, PASSWORDS, supportSchema, type TestDatabase } from "../harness/postgres.ts";
import { redisUrl } from "../harness/redis.ts";
import { startSluice, type TestSluice } from "../harness/sluice.ts";

const POLICY = `
version: 1
classes: { email: { mask: email } }
tables: { public.customers: { subject: id, columns: { email: email } } }
roles:
  agent: { users: [anna, ben], reads: all, sees: [], finds: [email], budget: { 1h: { lookups: 3, people: 50 } } }
`;

let database: TestDatabase;
let sluice: TestSluice;
beforeAll(async () => {
  database = await freshDatabase("lookups");
  await supportSchema(database.uri);
  sluice = await startSluice({ policy: POLICY, upstream: database.uri, redis: await redisUrl() });
});
afterAll(async () => {
  await sluice?.close();
  await database?.drop();
});

describe("a budget of look-ups", () => {
  test.each([
    [
      "anna",
      "in simple queries",
      (client: pg.Client, email: string) => client.query(`SELECT id FROM customers WHERE email = '${email}'`),
    ],
    [
      "ben",
      "in prepared statements",
      (client: pg.Client, email: string) =>
        client.query({
          name: "by-email",
          text: "SELECT id FROM customers WHERE email = $1",
          values: [email],
        }),
    ],
  ] as const)("stops %s who tries addresses %s, found or not", async (user, _, lookUp) => {
    const client = new pg.Client({ connectionString: sluice.uriFor(user, PASSWORDS[user]) });
    await client.connect();
    try {
      expect((await lookUp(client, "alice.ng.7@example.com")).rows).toEqual([{ id: "7" }]);
      for (const nobody of ["a@example.com", "b@example.com"])
        expect((await lookUp(client, nobody)).rows).toEqual([]);
      await expect(lookUp(client, "alice.ng.7@example.com")).rejects.toMatchObject({ code: "53400" });
      expect((await client.query("SELECT id FROM customers WHERE id = 7")).rows).toEqual([{ id: "7" }]);
    } finally {
      await client.end();
    }
  });
});
