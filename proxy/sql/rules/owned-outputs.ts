import type { BoundQuery, BoundStatement } from "../bind/bound.ts";
import { originOf } from "../bind/questions.ts";
import type { Given } from "./given.ts";
import type { NamedPerson } from "./named-people.ts";
import { sightOf } from "./people.ts";

/**
 * Of each output the position of the person whose own row it is a column of; undefined: it may be somebody else's, as a
 * subquery's value may be.
 */
export function ownedOutputs(
  statement: BoundStatement,
  { sights }: Given,
  { outputs, setOperation, hasUnknownOutputs }: BoundQuery,
  people: readonly NamedPerson[],
): readonly (number | undefined)[] {
  if (setOperation !== undefined || hasUnknownOutputs) return [];
  return outputs.map(({ column }) => {
    const origin = column && originOf(statement, column);
    const index = people.findIndex(
      ({ reference }) => reference === origin?.relation && sightOf(sights, reference)?.people?.unknown === 0,
    );
    return index < 0 ? undefined : index;
  });
}
