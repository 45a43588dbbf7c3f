import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { SupportUser } from "../harness/postgres.ts";
import { type Judged, openJudged } from "./judged.ts";

/** anna may read or write no tickets or customers as a whole; ben may write ten rows; cleo's changes are counted. */
const POLICY = `
version: 1
tables:
  public.customers: { subject: id }
  public.tickets: { subject: customer_id }
roles:
  filtered: { users: [anna], reads: all, writes: all, sees: all, require_filter: [public.tickets, public.customers] }
  limited: { users: [ben], reads: all, writes: all, sees: all, changes: 10 }
  counted: { users: [cleo], reads: all, writes: all, sees: all, budget: { 1d: { changes: 40 } } }
  app: { users: [helpdesk_app], reads: all, writes: all, sees: all }
`;

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    policy: POLICY,
    setup: `
      CREATE TABLE notes (id int PRIMARY KEY, body text);
      CREATE TABLE ruled (id int PRIMARY KEY, body text);
      CREATE RULE also AS ON UPDATE TO ruled DO ALSO DELETE FROM notes;
      CREATE VIEW open_tickets AS SELECT * FROM tickets WHERE status = 'open';`,
  });
});
afterAll(() => judged?.close());

function refusal(user: SupportUser, sql: string) {
  const verdict = judged.judge(user, sql);
  return verdict.kind === "refuse" ? verdict.refusal : undefined;
}

function changes(user: SupportUser, sql: string) {
  const verdict = judged.judge(user, sql);
  if (verdict.kind === "refuse") throw new Error(verdict.refusal.message);
  return verdict.statements.map((statement) => statement.changes);
}

describe("a table that may not be read as a whole may not be written as a whole", () => {
  test.each([
    "update tickets set assignee = 'anna'",
    "update tickets set assignee = 'anna' where true",
    "update tickets set assignee = 'anna' where status = 'open'",
    "update tickets set assignee = 'anna' where id = 7 or true",
    "update tickets set assignee = 'anna' where id > 0",
    "update tickets t set assignee = 'anna' from notes n where n.id = 7",
    "delete from tickets",
    "delete from tickets where status = 'open'",
    "delete from only tickets",
    "delete from tickets using notes where notes.id = tickets.id",
    "update open_tickets set assignee = 'anna' where status = 'open'",
    "with gone as (delete from tickets returning id) select count(*) from gone",
    "merge into tickets t using notes n on true when matched then delete",
    "merge into tickets t using notes n on t.id = n.id when matched then update set assignee = 'anna'",
    "merge into tickets t using (values (7)) v(id) on t.id = 7 when not matched by source then delete",
    "merge into notes n using tickets t on n.id = t.id when matched then update set body = 'x'",
    "prepare p as update tickets set assignee = 'anna'",
    "explain update tickets set assignee = 'anna'",
  ])("%s", (sql) => {
    expect(refusal("anna", sql)).toMatchObject({ sqlstate: "54000", rule: "roles.filtered.require_filter" });
  });

  test.each([
    "update tickets set assignee = 'anna' where id = 7",
    "update tickets set assignee = 'anna' where id = $1 and status = 'open'",
    "update tickets set assignee = 'anna' where customer_id in (7, 8) returning id",
    "update tickets t set assignee = 'anna' from customers c where c.id = 7 and t.customer_id = c.id",
    "update tickets set assignee = 'anna' where current of c",
    "delete from tickets where id between 7 and 9",
    "insert into tickets (id, customer_id) values (1, 7)",
    "insert into notes values (1, 'x') on conflict (id) do update set body = 'y'",
    "merge into tickets t using (values ('anna')) v(who) on t.id = 7 when matched then update set assignee = who",
    "update notes set body = 'x'",
    "delete from notes",
  ])("but: %s", (sql) => {
    expect(refusal("anna", sql)).toBeUndefined();
  });

  test("and the error says so", () => {
    expect(refusal("anna", "delete from tickets")).toMatchObject({
      message: 'role "filtered" may change rows of public.tickets only with a condition on an indexed column',
      hint: 'Add a condition such as "id = …", with =, IN or BETWEEN on the column itself; indexed are id, customer_id.',
    });
  });
});

describe("what a write's rows are counted for", () => {
  test("is known for each statement whose tag counts them", () => {
    for (const user of ["ben", "cleo"] as const) {
      expect(changes(user, "update tickets set status = 'x'; update notes set body = 'x'; select 1")).toEqual(
        ["people", "rows", undefined],
      );
      expect(changes(user, "insert into tickets (id, customer_id) values (1, 7), (2, 8)")).toEqual([
        "people",
      ]);
      expect(changes(user, "copy open_tickets from stdin; copy tickets to stdout")).toEqual([
        "people",
        undefined,
      ]);
      expect(changes(user, "explain delete from tickets")).toEqual([undefined]);
    }
  });

  test("is behind a PREPARE's name", () => {
    const verdict = judged.judge("ben", "prepare p as delete from tickets");
    expect(verdict.statements[0]).toMatchObject({
      effect: { kind: "prepare", inner: { changes: "people" } },
    });
    expect(verdict.statements[0]?.changes).toBeUndefined();
  });

  test.each([
    "with t as (delete from tickets returning id) select count(*) from t",
    "with t as (delete from tickets returning id) insert into notes select id, 'x' from t",
    "prepare p as with t as (delete from tickets returning id) select count(*) from t",
    "copy (delete from tickets returning id) to stdout",
    "explain analyze delete from tickets",
    "explain (analyze, timing off) delete from tickets",
  ])("is not known, so refused: %s", (sql) => {
    expect(refusal("ben", sql)).toMatchObject({ sqlstate: "42501", rule: "roles.limited.changes" });
    expect(refusal("cleo", sql)).toMatchObject({ sqlstate: "42501", rule: "roles.counted.budget" });
    expect(refusal("helpdesk_app", sql)).toBeUndefined();
  });

  test("rules write rows that no tag counts", () => {
    const sql = "update ruled set body = 'x' where id = 1";
    expect(refusal("ben", sql)).toMatchObject({ sqlstate: "42501", rule: "roles.limited.changes" });
    // Rows that belong to no one are not counted by the budget.
    expect(refusal("cleo", sql)).toBeUndefined();
  });
});
