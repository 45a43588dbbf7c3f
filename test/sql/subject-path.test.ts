import pg from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { PASSWORDS } from "../harness/postgres.ts";
import { type Judged, openJudged } from "./judged.ts";

const POLICY = `
version: 1
classes: { text: { mask: redact } }
tables:
  public.customers: { subject: id }
  public.tickets: { subject: customer_id }
  public.ticket_messages: { subject: ticket_id -> public.tickets.customer_id, columns: { body: text } }
  public.attachments: { subject: message_id -> public.ticket_messages.ticket_id -> public.tickets.customer_id }
roles:
  agent: { users: [anna], reads: all, writes: all, sees: [], budget: { 1d: 300 } }
  lead: { users: [cleo], reads: all, writes: all, sees: [text], budget: { 1d: 300 } }
  analyst: { users: [metabase], reads: all, sees: [text], aggregates_only: { min_group: 2 } }
`;

const SETUP = `
  CREATE TABLE attachments (id int PRIMARY KEY, message_id bigint REFERENCES ticket_messages, size int);
  INSERT INTO attachments SELECT row_number() OVER (ORDER BY id), id, 1 FROM ticket_messages ORDER BY id LIMIT 20;
  INSERT INTO attachments VALUES (1000, NULL, 1);
  GRANT SELECT, INSERT, UPDATE ON attachments TO PUBLIC;
  CREATE VIEW said AS SELECT id, ticket_id, author FROM ticket_messages;
  GRANT SELECT ON said TO PUBLIC;
`;

let judged: Judged;
let client: pg.Client;
let narrow: pg.Client;
beforeAll(async () => {
  judged = await openJudged({ policy: POLICY, setup: SETUP });
  client = new pg.Client({ connectionString: judged.database.uriFor("cleo", PASSWORDS.cleo) });
  narrow = new pg.Client({ connectionString: judged.database.uri });
  await client.connect();
  await narrow.connect();
});
afterAll(async () => {
  await client.end();
  await narrow.end();
  await judged.close();
});

function sent(user: "anna" | "cleo" | "metabase", sql: string): string {
  const verdict = judged.judge(user, sql);
  if (verdict.kind === "refuse") throw new Error(verdict.refusal.message);
  return verdict.kind === "rewrite" ? verdict.sql.toString() : sql;
}

/** The people whom the rows claim to be about, and those whom they really are about. */
async function named(user: "anna" | "cleo", sql: string, on = client) {
  const { rows } = await on.query<unknown[]>({
    text: sent(user, sql),
    rowMode: "array",
  } as pg.QueryArrayConfig);
  return rows.map((row) => row.at(-1));
}

async function owners(sql: string): Promise<unknown[]> {
  const { rows } = await client.query<{ owner: string | null }>(sql);
  return rows.map(({ owner }) => owner);
}

describe("a subject at the end of a path", () => {
  test.each(["anna", "cleo"] as const)("each row names its person (%s)", async (user) => {
    const truth = await owners(
      "SELECT t.customer_id::text AS owner FROM ticket_messages m JOIN tickets t ON t.id = m.ticket_id ORDER BY m.id LIMIT 50",
    );
    expect(truth).toHaveLength(50);
    expect(await named(user, "SELECT * FROM ticket_messages m ORDER BY id LIMIT 50")).toEqual(truth);
    expect(await named(user, "SELECT author FROM said ORDER BY id LIMIT 50")).toEqual(truth);
    const [statement] = judged.judge(user, "SELECT * FROM ticket_messages").statements;
    expect(statement?.metering).toMatchObject({
      subjects: [{ namespace: "public.customers.id" }],
      unknown: 0,
    });
  });

  test("over two tables as over one, and a row without a person belongs to no one", async () => {
    const truth = await owners(
      "SELECT t.customer_id::text AS owner FROM attachments a LEFT JOIN ticket_messages m ON m.id = a.message_id LEFT JOIN tickets t ON t.id = m.ticket_id ORDER BY a.id",
    );
    expect(truth.at(-1)).toBeNull();
    expect(await named("cleo", "SELECT size FROM attachments ORDER BY id")).toEqual(truth);
  });

  test("rows that a write gives back name it too", async () => {
    const truth = await owners(
      "SELECT t.customer_id::text AS owner FROM ticket_messages m JOIN tickets t ON t.id = m.ticket_id WHERE m.id = 1",
    );
    expect(await named("cleo", "UPDATE attachments SET size = 2 WHERE id = 1 RETURNING id")).toEqual(truth);
  });

  test("a client's alias is not mistaken for one of the lookup's", () => {
    for (const alias of ['"sluice 1"', '"sluice 2"', "tickets", "public"]) {
      const verdict = judged.judge("cleo", `SELECT id FROM attachments AS ${alias}`);
      const [statement] = verdict.statements;
      const { subjects = [], unknown = 0 } = statement?.metering ?? {};
      expect(subjects.length + unknown).toBe(1);
      expect(subjects.length).toBe(alias.startsWith('"sluice') ? 0 : 1);
    }
  });

  test("indexes lead to it, and the statement's own index still serves", async () => {
    await narrow.query("SET enable_seqscan = off");
    const { rows } = await narrow.query<{ "QUERY PLAN": string }>(
      `EXPLAIN ${sent("anna", "SELECT body FROM ticket_messages WHERE ticket_id = 7")}`,
    );
    const plan = rows.map((row) => row["QUERY PLAN"]).join("\n");
    expect(plan).toMatch(/ticket_messages_ticket_id/);
    expect(plan).toMatch(/Index Scan using tickets_pkey/);
    expect(plan).not.toMatch(/Seq Scan/);
  });

  test("a user who may not read the table on the path gets their rows, and is counted by the rows' own keys", async () => {
    const unreadable = judged.scope("cleo").unreadable as Set<string>;
    unreadable.add("public.tickets.customer_id");
    try {
      const fresh = sent("cleo", "SELECT id FROM ticket_messages WHERE ticket_id = 7");
      expect(fresh).not.toContain('tickets" AS');
      const { rows } = await client.query<unknown[]>({
        text: fresh,
        rowMode: "array",
      } as pg.QueryArrayConfig);
      expect(new Set(rows.map((row) => row.at(-1)))).toEqual(new Set(["ticket_id 7"]));
    } finally {
      unreadable.clear();
    }
  });

  test("a group is of people and not of what lies before them", async () => {
    const own = await owners(
      "SELECT ticket_id::text AS owner FROM ticket_messages m JOIN tickets t ON t.id = m.ticket_id GROUP BY ticket_id HAVING count(*) > 1 LIMIT 1",
    );
    expect(own).toHaveLength(1);
    // A ticket belongs to one person: grouping by it is refused, and grouping by minutes gives one person's messages.
    expect(() =>
      sent("metabase", "SELECT ticket_id, count(*) FROM ticket_messages GROUP BY ticket_id"),
    ).toThrow(/identifies them/);
    const groups = await narrow.query(
      sent("metabase", "SELECT date_trunc('hour', sent_at), count(*) FROM ticket_messages GROUP BY 1"),
    );
    expect(groups.rows).toHaveLength(0);
    const authors = await narrow.query(sent("metabase", "SELECT count(*) FROM ticket_messages"));
    expect(authors.rows).toHaveLength(1);
  });

  test("a row cannot be moved to another person's key, on either side", () => {
    for (const sql of [
      "UPDATE ticket_messages SET ticket_id = 1 WHERE id = 1",
      "UPDATE tickets SET customer_id = 1 WHERE id = 1",
    ])
      expect(judged.judge("cleo", sql)).toMatchObject({ kind: "refuse" });
  });
});

describe("rows that are joined to their ticket are its customer's, however object mappers gather them", () => {
  test.each([
    [
      "a subquery",
      "SELECT t.id, (SELECT json_agg(m) FROM ticket_messages m WHERE m.ticket_id = t.id) FROM tickets t WHERE t.id = $1",
    ],
    [
      "Drizzle",
      `select "t"."id", "t_messages"."data" as "messages" from "tickets" "t" left join lateral (select coalesce(json_agg(json_build_array("m"."id", "m"."body")), '[]'::json) as "data" from (select * from "ticket_messages" where "ticket_messages"."ticket_id" = "t"."id") "m") "t_messages" on true where "t"."id" = $1 limit $2`,
    ],
    [
      "Kysely",
      `select "id", (select coalesce(json_agg(agg), '[]') from (select "m"."id", "m"."body" from "ticket_messages" as "m" where "m"."ticket_id" = "tickets"."id" order by "m"."id") as agg) as "messages" from "tickets" where "id" = $1`,
    ],
    [
      "Prisma",
      `SELECT "t1"."id", "t2"."__prisma_data__" AS "messages" FROM "public"."tickets" AS "t1" LEFT JOIN LATERAL (SELECT COALESCE(JSONB_AGG("__prisma_data__"), '[]') AS "__prisma_data__" FROM (SELECT "t3"."__prisma_data__" FROM (SELECT JSONB_BUILD_OBJECT('id', "t2"."id", 'body', "t2"."body") AS "__prisma_data__" FROM (SELECT "t4".* FROM "public"."ticket_messages" AS "t4" WHERE "t1"."id" = "t4"."ticket_id") AS "t2") AS "t3") AS "t5") AS "t2" ON TRUE WHERE "t1"."id" = $1 LIMIT $2`,
    ],
    [
      "two steps",
      "SELECT m.id, (SELECT array_agg(a.id) FROM attachments a WHERE a.message_id = m.id) FROM ticket_messages m WHERE m.id = $1",
    ],
  ])("%s", (_, sql) => {
    const verdict = judged.judge("cleo", sql);
    expect(verdict.kind === "refuse" ? verdict.refusal : verdict.statements[0]?.metering).toMatchObject({
      subjects: [{ namespace: "public.customers.id" }],
      unknown: 0,
      price: { bySize: false },
    });
  });

  test.each([
    "SELECT t.id, (SELECT json_agg(m) FROM ticket_messages m WHERE m.ticket_id = t.customer_id) FROM tickets t WHERE t.id = 1",
    "SELECT t.id, (SELECT json_agg(m) FROM ticket_messages m WHERE m.id = t.id) FROM tickets t WHERE t.id = 1",
    "SELECT c.id, (SELECT json_agg(m) FROM ticket_messages m WHERE m.ticket_id = c.id) FROM customers c WHERE c.id = 1",
    "SELECT t.id, (SELECT json_agg(a) FROM attachments a WHERE a.message_id = t.id) FROM tickets t WHERE t.id = 1",
    "SELECT t.id, (SELECT json_agg(m) FROM ticket_messages m WHERE m.ticket_id = t.id OR true) FROM tickets t WHERE t.id = 1",
  ])("and rows that are joined otherwise count an unknown person: %s", (sql) => {
    const verdict = judged.judge("cleo", sql);
    expect(verdict.kind === "refuse" ? undefined : verdict.statements[0]?.metering?.unknown).toBe(1);
  });
});
