import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { assignedColumns, foundInAssignments, foundInMerge } from "../../../proxy/sql/rules/assignments.ts";
import { takesCompanions } from "../../../proxy/sql/rules/copied-people.ts";
import { tellingOfHiddenRows } from "../../../proxy/sql/rules/filtered-writes.ts";
import { sortedAssignments } from "../../../proxy/sql/rules/kept-columns.ts";
import { sightOf } from "../../../proxy/sql/rules/people.ts";
import { probingByRows } from "../../../proxy/sql/rules/probing.ts";
import { unsummarisedWrite } from "../../../proxy/sql/rules/summaries-in-writes.ts";
import { tellingConflict } from "../../../proxy/sql/rules/upserts.ts";
import { givenColumns } from "../../../proxy/sql/rules/write-choice.ts";
import type { WriteFinding } from "../../../proxy/sql/rules/write-findings.ts";
import type { SupportUser } from "../../harness/postgres.ts";
import { type Judged, openJudged } from "../judged.ts";
import { ruleInput } from "./view.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged({
    setup: `
      CREATE TABLE mails (email text REFERENCES customers (email));
      ALTER TABLE customers ADD CONSTRAINT reachable CHECK (phone <> '' OR country <> '');`,
  });
});
afterAll(() => judged?.close());

function write(sql: string, user: SupportUser) {
  const { statement, ...given } = ruleInput(judged, user, sql);
  const query = statement.top;
  const sight = query?.write && sightOf(given.sights, query.write.target);
  if (query === undefined || sight === undefined) throw new Error(`no write: ${sql}`);
  return { statement, given, query, target: { relation: sight.relation, key: sight.key, sight } };
}

function told(found: readonly WriteFinding[]): readonly string[] {
  return found.map((each) =>
    each.kind === "refused" ? each.refusal.message : `lookup of ${each.sight.column.name}`,
  );
}

function assigned(sql: string, user: SupportUser = "anna"): readonly string[] {
  const { given, query, target } = write(sql, user);
  return told(foundInAssignments(given, target, assignedColumns(query.clauses.assignments)));
}

describe("what an UPDATE assigns", () => {
  test.each([
    ["UPDATE customers SET name = 'x'", []],
    ["UPDATE customers SET id = 5", ["may not change public.customers.id: it names the person of the row"]],
    ["UPDATE customers SET address = 'x'", ["sees public.customers.address masked and may not write it"]],
    ["UPDATE customers SET country = 'x'", ["by the CHECK reachable an error would reveal"]],
    ["UPDATE mails SET email = 'a@b.c'", ["lookup of email"]],
  ])("%s: %j", (sql, words) => {
    const found = assigned(sql);
    expect(found.slice(0, Math.max(1, words.length))).toEqual(
      words.map((each) => expect.stringContaining(each)),
    );
  });

  test("may be the row's present value, together with another assignment", () => {
    const kept = (set: string) => {
      const { statement, given, query, target } = write(`UPDATE customers SET ${set} WHERE id = 7`, "anna");
      const sorted = sortedAssignments(statement, given, target, query.clauses.assignments);
      return [sorted.kept.map(({ column }) => column.name), assignedColumns(sorted.changed)];
    };
    expect(kept("id = $1, country = 'x'")).toEqual([["id"], ["country"]]);
    expect(kept("id = NULL, country = 'x'")).toEqual([["id"], ["country"]]);
    // A different value in each row, or no other assignment: it is meant to change.
    expect(kept("id = id + 1, country = 'x'")).toEqual([[], ["id", "country"]]);
    expect(kept("id = 7")).toEqual([[], ["id"]]);
  });
});

test("MERGE moves no rows to others, and deletes none that a masked key refers to", () => {
  const merged = (clause: string) => {
    const { given, query, target } = write(
      `MERGE INTO customers c USING (VALUES (7)) v (i) ON c.id = v.i WHEN MATCHED THEN ${clause}`,
      "anna",
    );
    return told(foundInMerge(given, target, query.node));
  };
  expect(merged("UPDATE SET id = 5")[0]).toContain("it names the person of the row");
  expect(merged("DO NOTHING")).toEqual([]);
  expect(merged("DELETE")).toContain("lookup of email");
});

test("new rows probe unique masked values in the columns that they set", () => {
  const probed = (sql: string) => {
    const { given, query, target } = write(sql, "anna");
    return told(probingByRows(given, target, givenColumns(query)));
  };
  expect(probed("INSERT INTO customers (id, email) VALUES (1, 'a')")).toContain("lookup of email");
  expect(probed("INSERT INTO mails VALUES ('a@b.c')")).toEqual(["lookup of email"]);
  expect(probed("INSERT INTO mails VALUES (DEFAULT)")).toEqual([]);
  const { given, query, target } = write("INSERT INTO tickets (id) VALUES (1)", "ben");
  expect(told(probingByRows(given, target, givenColumns(query)))).toEqual([
    expect.stringContaining("may not choose id: it is unique"),
  ]);
});

test("ON CONFLICT without columns reveals masked values, DO UPDATE reveals rows that a filter hides", () => {
  const conflict = (sql: string, user: SupportUser) => {
    const { given, query, target } = write(sql, user);
    return tellingConflict(given, query, target)?.message;
  };
  const row = "INSERT INTO customers (id, email) VALUES (1, 'a') ON CONFLICT";
  expect(conflict(`${row} DO NOTHING`, "anna")).toContain("which masked values exist");
  expect(conflict(`${row} (id) DO NOTHING`, "anna")).toBeUndefined();
  const ticket = "INSERT INTO tickets (id) VALUES (1) ON CONFLICT";
  expect(conflict(`${ticket} (id) DO UPDATE SET status = 'x'`, "ben")).toContain("sees only a part of");
  expect(conflict(`${ticket} (id) DO NOTHING`, "ben")).toBeUndefined();
});

test("with a row filter, conditions are plain", () => {
  const telling = (sql: string) => {
    const { statement, given, query, target } = write(sql, "ben");
    return tellingOfHiddenRows(statement, given, target, query) !== undefined;
  };
  expect(telling("UPDATE tickets SET status = 'x' WHERE id = 7 AND customer_id IN (1, 2)")).toBe(false);
  expect(telling("UPDATE tickets SET status = 'x'")).toBe(false);
  expect(telling("UPDATE tickets SET status = 'x' WHERE 1 / id > 0")).toBe(true);
  expect(telling("DELETE FROM tickets USING customers")).toBe(true);
});

test("an UPDATE takes values from the relations in its FROM, by any name, and not from subqueries' own tables", () => {
  const takes = (sql: string) => {
    const { statement, query } = write(sql, "cleo");
    return takesCompanions(statement, query);
  };
  expect(takes("UPDATE customers SET country = t.status FROM tickets t")).toBe(true);
  expect(takes("UPDATE customers c SET country = t::text FROM tickets t")).toBe(true);
  expect(takes("UPDATE customers SET country = (SELECT status) FROM tickets t")).toBe(true);
  expect(takes("UPDATE customers c SET country = c.country FROM tickets t")).toBe(false);
  expect(takes("UPDATE customers SET country = (SELECT max(currency) FROM payments) FROM tickets t")).toBe(
    false,
  );
});

test("a role that may see only summaries gets no rows of people from a write", () => {
  const hint = (sql: string) => {
    const { given, query } = write(sql, "metabase");
    return unsummarisedWrite(given, query)?.hint;
  };
  expect(hint("UPDATE mails SET email = '' FROM tickets")).toMatch(/^Leave it out/);
  expect(hint("DELETE FROM tickets RETURNING 1")).toBe("Leave RETURNING out.");
  expect(hint("DELETE FROM tickets")).toBeUndefined();
  expect(hint("INSERT INTO mails SELECT count(*) FROM tickets")).toBeUndefined();
});
