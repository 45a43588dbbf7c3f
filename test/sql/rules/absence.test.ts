import { afterAll, beforeAll, expect, test } from "vitest";
import { countedWhenLeftOut } from "../../../proxy/sql/rules/absence.ts";
import { speaksOfPeople } from "../../../proxy/sql/rules/people.ts";
import { type Judged, openJudged } from "../judged.ts";
import { ruleInput } from "./view.ts";

let judged: Judged;
beforeAll(async () => {
  judged = await openJudged();
});
afterAll(() => judged?.close());

test.each([
  ["customers c LEFT JOIN tickets t ON t.customer_id = c.id", []],
  ["customers c LEFT JOIN tickets t ON t.customer_id = c.id AND t.body LIKE 'a%'", []],
  ["payments c LEFT JOIN tickets t USING (customer_id)", []],
  ["payments c NATURAL LEFT JOIN tickets t", []],
  // A single column that everyone may see.
  ["tickets t LEFT JOIN customers c ON c.country = t.region", []],
  ["tickets t LEFT JOIN customers c ON c.country = t.region AND c.id = 7", ["c"]],
  ["tickets t LEFT JOIN customers c ON c.email = t.region", ["c"]],
  ["tickets t LEFT JOIN customers c ON true", ["c"]],
  ["tickets t LEFT JOIN customers c ON c.id = 7", ["c"]],
  ["tickets t RIGHT JOIN customers c ON c.id = 7", ["t"]],
  ["customers c FULL JOIN tickets t ON t.customer_id = c.id", ["c"]],
  ["(VALUES (1)) v(n) LEFT JOIN customers c ON c.id = v.n", ["c"]],
  // By the person of a reference that is counted when it is left out.
  ["(VALUES (1)) v(n) LEFT JOIN (customers c JOIN tickets t ON t.customer_id = c.id) ON c.name > 'a'", ["c"]],
])("of %s", (from, expected) => {
  const { statement, sights } = ruleInput(judged, "anna", `SELECT 1 FROM ${from}`);
  const query = statement.queries.at(-1);
  if (query === undefined) throw new Error("no query");
  const named = new Set(query.relations.filter((each) => speaksOfPeople(sights, each)));
  const counted = countedWhenLeftOut(statement, sights, query, named);
  expect([...counted].map(({ alias }) => alias)).toEqual(expected);
});
