import type { BoundQuery, BoundStatement } from "../bind/bound.ts";
import type { Given } from "./given.ts";
import { PeopleShown } from "./people-shown.ts";

/** Of a write beside its target: the people of what chooses its rows, and of the values that they get. */
export interface WrittenPeople {
  readonly choosing: number;
  readonly values: number;
}

/** What RETURNING shows is not among them, but for a MERGE, in which that is not told apart. */
export function writtenPeople(statement: BoundStatement, given: Given, query: BoundQuery): WrittenPeople {
  const shown = new PeopleShown(statement, given);
  const { form, write, clauses } = query;
  const target = write === undefined ? 0 : shown.ofRelation(write.target);
  const returned = form === "merge" ? 0 : shown.ofNodes(query, clauses.returning);
  const all = shown.ofQuery(query) - target - returned;
  // An INSERT or a MERGE has no rows but those that it makes.
  const values = form === "update" ? shown.ofNodes(query, clauses.assignments) : form === "delete" ? 0 : all;
  return { choosing: all - values, values };
}
