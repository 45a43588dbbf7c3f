import type { BoundQuery, BoundStatement } from "../bind/bound.ts";
import type { Given } from "./given.ts";
import { PeopleShown } from "./people-shown.ts";

/**
 * For a write, besides its target: the people of the values that choose its rows, and of the values that are stored.
 */
export interface WrittenPeople {
  readonly choosing: number;
  readonly values: number;
}

/** Does not include what RETURNING shows, except for a MERGE, in which the two cannot be separated. */
export function writtenPeople(statement: BoundStatement, given: Given, query: BoundQuery): WrittenPeople {
  const shown = new PeopleShown(statement, given);
  const { form, write, clauses } = query;
  const target = write === undefined ? 0 : shown.ofRelation(write.target);
  const returned = form === "merge" ? 0 : shown.ofNodes(query, clauses.returning);
  const all = shown.ofQuery(query) - target - returned;
  // An INSERT or a MERGE has only the rows that it makes.
  const values = form === "update" ? shown.ofNodes(query, clauses.assignments) : form === "delete" ? 0 : all;
  return { choosing: all - values, values };
}
