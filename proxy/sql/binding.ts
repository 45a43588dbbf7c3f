import type { Relation } from "../catalog/catalog.ts";
import { bindStatement } from "./bind/bind-statement.ts";
import type { BoundStatement } from "./bind/bound.ts";
import { type Allowance, Effort } from "./bind/effort.ts";
import { UnknownSyntax } from "./parse/grammar.ts";
import { type RawStatement, tooComplex } from "./parse/parse-text.ts";
import { Refused } from "./refused.ts";
import type { Scope } from "./scope.ts";
import type { Sights } from "./sight.ts";

/** Resolves the names in all statements of a text, as they apply to the text that is sent. Refuses by throwing. */
export function bindAll(
  raw: readonly RawStatement[],
  { catalog, searchPath }: Scope,
  sights: Sights,
  allowance: Allowance,
): readonly BoundStatement[] {
  if (!allowance.takes(raw.length)) throw new Refused(tooComplex("the text has too many statements"));
  const environment = {
    ...{ catalog, searchPath, effort: new Effort(allowance) },
    absent: (relation: Relation) => sights.absent(relation),
  };
  return raw.map(({ node }) => {
    const result = bindStatement(node, environment);
    if (result.ok) return result.statement;
    if (result.reason === "depth") throw new Refused(tooComplex("the statement is nested too deeply"));
    if (result.reason === "effort") throw new Refused(tooComplex(result.message));
    throw new UnknownSyntax(result.message);
  });
}
