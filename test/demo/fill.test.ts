import pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { policyCheck } from "../../proxy/commands/policy-check.ts";
import { DEMO_USERS, uriFor } from "../../proxy/demo/demo-schema.ts";
import { DATABASE, editionOf, fill, uriOf } from "../../proxy/demo/fill.ts";
import { type Amounts, customerAt } from "../../proxy/demo/made-up-people.ts";
import type { RunningPostgres } from "../../proxy/embedded/postgres.ts";
import { captured } from "../commands/captured.ts";
import { startPostgres } from "../harness/postgres.ts";

const FEW: Amounts = { customers: 300, tickets: 600, messages: 900, payments: 400 };
let server: RunningPostgres;

// Of its own: the demo makes its roles with its own passwords.
beforeAll(async () => {
  server = await startPostgres();
});
afterAll(() => server.stop());

async function rows(uri: string, sql: string): Promise<unknown[][]> {
  const client = new pg.Client({ connectionString: uri });
  await client.connect();
  try {
    return (await client.query<unknown[]>({ text: sql, rowMode: "array" })).rows;
  } finally {
    await client.end();
  }
}

test("a fill that is interrupted starts over, and a whole one is used again", async () => {
  const interrupted = fill(server.uri, FEW, (table) => {
    if (table === "tickets") throw new Error("Ctrl-C");
  });
  await expect(interrupted).rejects.toThrow("Ctrl-C");
  const told: string[] = [];
  expect(await fill(server.uri, FEW, (table) => told.push(table))).toBe("filled");
  expect(new Set(told)).toEqual(new Set(["customers", "tickets", "ticket_messages", "payments", "indexes"]));
  expect(await fill(server.uri, FEW, () => told.push("again"))).toBe("reused");
  expect(told).not.toContain("again");
});

test("a database that an earlier version has filled is made again, with users who are new", async () => {
  expect(editionOf([...DEMO_USERS, "one more"])).not.toBe(editionOf([...DEMO_USERS]));
  expect(editionOf()).toBe(editionOf());
  await fill(server.uri, FEW, () => {});
  const marker = `sluice demo, edition 2, ${Object.values(FEW).join("/")}`;
  await rows(server.uri, `COMMENT ON DATABASE ${DATABASE} IS '${marker}'`);
  await rows(server.uri, "ALTER ROLE helpdesk_web RENAME TO someone_else");
  expect(await fill(server.uri, FEW, () => {})).toBe("filled");
  const web = uriFor("helpdesk_web", "127.0.0.1", server.port, DATABASE);
  expect(await rows(web, "SELECT count(*)::int FROM customers")).toEqual([[300]]);
});

test("the tables hold what the generator says", async () => {
  await fill(server.uri, FEW, () => {});
  const uri = uriOf(server.uri, DATABASE);
  const counts = `SELECT (SELECT count(*)::int FROM customers), (SELECT count(*)::int FROM tickets),
    (SELECT count(*)::int FROM ticket_messages), (SELECT count(*)::int FROM payments)`;
  expect(await rows(uri, counts)).toEqual([[300, 600, 900, 400]]);
  const seven = customerAt(7);
  expect(await rows(uri, "SELECT name, email, birth_date::text FROM customers WHERE id = 7")).toEqual([
    [seven.name, seven.email, seven.birthDate],
  ]);
});

test("the application writes past the last row that was filled in; an agent reads all, deletes nothing", async () => {
  await fill(server.uri, FEW, () => {});
  const application = uriFor("helpdesk_app", "127.0.0.1", server.port, DATABASE);
  const insert = `INSERT INTO tickets (customer_id, subject, body, region) VALUES (1, 's', 'b', 'eu') RETURNING id::int`;
  const [[id] = []] = await rows(application, insert);
  expect(id).toBeGreaterThan(FEW.tickets);
  const agent = uriFor("anna", "127.0.0.1", server.port, DATABASE);
  expect(await rows(agent, "SELECT count(*)::int FROM customers")).toEqual([[300]]);
  await expect(rows(agent, "DELETE FROM customers")).rejects.toThrow("permission denied");
});

test("an agent takes a ticket that is nobody's, and none of another agent's", async () => {
  await fill(server.uri, FEW, () => {});
  const [application, agent] = ["helpdesk_app", "anna"].map((user) =>
    uriFor(user, "127.0.0.1", server.port, DATABASE),
  ) as [string, string];
  const insert = `INSERT INTO tickets (customer_id, assignee, subject, body, region) VALUES (1, NULL, 's', 'b', 'eu'), (1, 'ben', 's', 'b', 'eu') RETURNING id::int`;
  const made = await rows(application, insert);
  for (const [id] of made) await rows(agent, `SELECT take_ticket(${id})`);
  const [first, second] = made.map(([id]) => id);
  expect(
    await rows(agent, `SELECT assignee FROM tickets WHERE id IN (${first}, ${second}) ORDER BY id`),
  ).toEqual([["anna"], ["ben"]]);
  await expect(
    rows(uriFor("metabase", "127.0.0.1", server.port, DATABASE), "SELECT take_ticket(1)"),
  ).rejects.toThrow("permission denied");
});

test("policy check has nothing to say of the demo's policy and its database", async () => {
  await fill(server.uri, FEW, () => {});
  const upstream = uriOf(server.uri, DATABASE);
  expect(await captured(() => policyCheck(["policies/support.yaml", "--upstream", upstream]))).toMatchObject({
    status: 0,
    out: "1 file: right\n",
  });
});
