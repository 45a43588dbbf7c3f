import type pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { customerAt } from "../../proxy/demo/made-up-people.ts";
import { AMOUNTS, type Desk, openDesk } from "./desk.ts";

/** An ordinary agent's day behind the shipped policy: no budget is ever half used. */

let desk: Desk;
beforeAll(async () => {
  desk = await openDesk();
});
afterAll(() => desk?.close());

const MINUTES = 8 * 60;

/** What an agent does in a minute; in most minutes nothing of the kind. */
type Duty = (client: pg.Client, minute: number) => Promise<void>;

/** Runs the duty every `every` minutes. */
const each =
  (every: number, duty: Duty): Duty =>
  async (client, minute) => {
    if (minute % every === 0) await duty(client, minute);
  };

/** The dashboard that runs during their work: it asks for the same data every minute. */
const DASHBOARD = [
  "SELECT count(*) FROM tickets WHERE status = 'open'",
  "SELECT status, count(*) FROM tickets GROUP BY status ORDER BY status",
  "SELECT region, count(*) FROM tickets WHERE created_at > '2024-01-01' GROUP BY region ORDER BY region",
  "SELECT date_trunc('month', created_at) AS month, count(*) FROM tickets GROUP BY 1 ORDER BY 1",
];

const dashboard: Duty = async (client) => {
  for (const sql of DASHBOARD) expect((await client.query(sql)).rows.length).toBeGreaterThan(0);
};

/** The customer who calls in this minute. */
const callerOf = (minute: number): number => 1 + ((minute * 37) % AMOUNTS.customers);

/** 60 customers a day: found by what they say, opened with their tickets and messages. */
const call: Duty = async (client, minute) => {
  const id = callerOf(minute);
  const { email, phone } = customerAt(id);
  const byMail = minute % 16 === 0;
  const found = byMail
    ? await client.query("SELECT id, name FROM customers WHERE email = $1", [email])
    : await client.query("SELECT id, name FROM customers WHERE phone = $1 AND country = $2", [
        phone,
        customerAt(id).country,
      ]);
  expect(found.rows.map((row: { id: string }) => Number(row.id))).toContain(id);
  await client.query("SELECT * FROM customers WHERE id = $1", [id]);
  const { rows } = await client.query<{ id: string }>(
    "SELECT id, subject, status, created_at FROM tickets WHERE customer_id = $1 ORDER BY created_at DESC",
    [id],
  );
  for (const ticket of rows.slice(0, 2))
    await client.query(
      "SELECT author, body, sent_at FROM ticket_messages WHERE ticket_id = $1 ORDER BY sent_at",
      [ticket.id],
    );
};

/** About a hundred searches a day find no one: a misheard number, an old address. */
const vainSearch: Duty = async (client, minute) => {
  const byMail = minute % 2 === 0;
  const { rows } = byMail
    ? await client.query("SELECT id, name FROM customers WHERE email = $1", [`nobody.${minute}@example.com`])
    : await client.query("SELECT id, name FROM customers WHERE phone = $1", [`+1 999 555 0${100 + minute}`]);
  expect(rows).toEqual([]);
};

/** The agent's own open tickets, one page of them. */
const ownTickets: Duty = async (client) => {
  await client.query(
    "SELECT id, status, created_at FROM tickets WHERE assignee = current_user AND status = 'open' ORDER BY id LIMIT 20",
  );
};

const update: Duty = async (client, minute) => {
  const { rows } = await client.query<{ id: string }>(
    "SELECT id FROM tickets WHERE customer_id = $1 ORDER BY id LIMIT 1",
    [callerOf(minute - (minute % 8))],
  );
  for (const { id } of rows)
    await client.query("UPDATE tickets SET status = $2 WHERE id = $1", [
      id,
      minute % 48 === 0 ? "solved" : "pending",
    ]);
};

const counts: Duty = async (client, minute) => {
  await client.query("SELECT count(*) FROM tickets WHERE customer_id = $1", [
    callerOf(minute - (minute % 8)),
  ]);
  await client.query("SELECT count(*) FROM tickets WHERE assignee = current_user");
};

const DUTIES: Readonly<Record<string, Duty>> = {
  dashboard,
  calls: each(8, call),
  "vain searches": each(5, vainSearch),
  "own tickets": each(30, ownTickets),
  updates: each(24, update),
  counts: each(20, counts),
};

test("an agent's day of eight hours uses less than half of each budget", { timeout: 180_000 }, async () => {
  const user = await desk.newUser("agent");
  const client = await desk.connect(user);
  const most = new Map<string, number>();
  const costs = new Map<string, number>();
  for (let minute = 0; minute < MINUTES; minute++) {
    for (const [name, duty] of Object.entries(DUTIES)) {
      const before = await desk.charged(user);
      await duty(client, minute);
      costs.set(name, (costs.get(name) ?? 0) + (await desk.charged(user)) - before);
    }
    for (const { window, used } of await desk.uses(user))
      most.set(window.rule, Math.max(most.get(window.rule) ?? 0, used / window.limit));
    desk.clock.pass(60);
  }
  await client.end();
  const shares = [...most].map(([rule, share]) => `${rule}: ${Math.round(100 * share)} %`);
  const parts = [...costs].map(([name, cost]) => `${name} ${cost.toFixed(1)}`);
  console.log(`An agent's day: ${shares.join(", ")} used at most. People charged: ${parts.join(", ")}`);
  expect(most.size).toBeGreaterThan(0);
  expect(Object.fromEntries([...most].filter(([, share]) => share >= 0.5))).toEqual({});
});
