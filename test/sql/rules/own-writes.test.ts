import { afterAll, beforeAll, expect, test } from "vitest";
import { ownReplacement } from "../../../proxy/sql/rules/own-writes.ts";
import { explainedWrite, untoldWrites } from "../../../proxy/sql/rules/written-rows.ts";
import type { SupportUser } from "../../harness/postgres.ts";
import { type Judged, openJudged } from "../judged.ts";
import { ruleInput } from "./view.ts";

/** Tickets decide whose messages are shown; a message's ticket exists (a foreign key). */
const POLICY = `
version: 1
classes: { text: { mask: redact } }
tables:
  public.tickets: { subject: customer_id }
  public.ticket_messages: { subject: customer_id, columns: { body: text } }
roles:
  agent:
    users: [anna]
    reads: all
    writes: all
    sees: [{ text: { when: "ticket_id IN (SELECT t.id FROM public.tickets t WHERE t.assignee = :user)" } }]
  limited: { users: [ben], reads: all, writes: all, sees: all, changes: 10 }
  counted: { users: [cleo], reads: all, writes: all, sees: all, budget: { 1d: { changes: 40 } } }
`;

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({ policy: POLICY, setup: "CREATE TABLE notes (id int PRIMARY KEY)" });
});
afterAll(() => judged?.close());

test("a row of a condition's table may be inserted or deleted, but not both in one statement", () => {
  const replaces = (sql: string) => {
    const { statement, ...given } = ruleInput(judged, "anna", sql);
    return ownReplacement(statement, given) !== undefined;
  };
  const [gone, made] = [
    "DELETE FROM tickets WHERE id = 7",
    "INSERT INTO tickets (id, assignee) VALUES (7, 'anna')",
  ];
  expect(replaces(gone)).toBe(false);
  expect(replaces(made)).toBe(false);
  expect(replaces(`WITH g AS (${gone}) ${made}`)).toBe(true);
  expect(replaces(`WITH g AS (${gone}), m AS (${made}) SELECT 1`)).toBe(true);
  expect(replaces(`WITH g AS (DELETE FROM notes) ${made}`)).toBe(false);
  const merge = "MERGE INTO tickets t USING (VALUES (7)) v (i) ON t.id = v.i WHEN MATCHED THEN DELETE";
  expect(replaces(merge)).toBe(false);
  expect(replaces(`${merge} WHEN NOT MATCHED THEN INSERT (id) VALUES (7)`)).toBe(true);
});

test("only the statement's own tag counts rows that have a limit", () => {
  const untold = (user: SupportUser, sql: string) => {
    const { statement, ...given } = ruleInput(judged, user, sql);
    return untoldWrites(statement, given, statement.top?.write?.target) !== undefined;
  };
  expect(untold("ben", "UPDATE notes SET id = 1")).toBe(false);
  expect(untold("ben", "WITH w AS (UPDATE notes SET id = 1) SELECT 1")).toBe(true);
  expect(untold("ben", "WITH w AS (UPDATE notes SET id = 1) UPDATE tickets SET status = 'x'")).toBe(true);
  expect(untold("cleo", "WITH w AS (UPDATE notes SET id = 1) SELECT 1")).toBe(false);
  expect(untold("cleo", "WITH w AS (UPDATE tickets SET status = 'x') SELECT 1")).toBe(true);
  expect(untold("anna", "WITH w AS (UPDATE tickets SET status = 'x') SELECT 1")).toBe(false);
  const { statement: _, ...given } = ruleInput(judged, "cleo", "SELECT 1");
  expect(explainedWrite(given, "people")?.hint).toBe("Use EXPLAIN without ANALYZE.");
  expect(explainedWrite(given, "rows")).toBeUndefined();
});
