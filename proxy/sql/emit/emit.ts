import type { RangeVar, SelectStmt } from "libpg-query";
import type { BoundQuery } from "../bind/bound.ts";
import { isTableCommand } from "../bind/questions.ts";
import { nodeOf } from "../parse/grammar.ts";
import type { Source } from "../parse/source.ts";
import type { JudgedStatement } from "../rules/findings.ts";
import type { MadeEdit } from "../verdict.ts";
import { appendedEdits } from "./appended.ts";
import { copyEdits } from "./copies.ts";
import { keyGroupings } from "./grouping.ts";
import { keptEdits } from "./kept-columns.ts";
import { movedConditions } from "./moved-conditions.ts";
import { argumentEdits, nameEdits } from "./name-edits.ts";
import { OrderedEdits } from "./ordered-edits.ts";
import { planOptions } from "./plan-options.ts";
import { relationEdits } from "./relation-edits.ts";
import { returnedEdit } from "./returned.ts";
import { inOrder } from "./rewrite.ts";
import { type Rewriting, rewritingOf } from "./rewriting.ts";
import { filterEdits } from "./row-filter.ts";
import { bytesOf, nameSpan, word } from "./source-tokens.ts";
import { noisyCalls, summaryClauses } from "./summarise.ts";

/** All changes that make a text's statements safe, in ascending order. */
export function editsOf(source: Source, statements: readonly JudgedStatement[]): readonly MadeEdit[] {
  return inOrder(statements.flatMap((each) => onceEach(editsOfStatement(rewritingOf(source, each)))));
}

/**
 * Of insertions at one position, the outer ones come first: a value that is compared as a whole, an argument, the name
 * in it. At the end of a clause, the inner ones come first: a value, a clause, a query, the statement.
 */
function editsOfStatement(rewriting: Rewriting): readonly MadeEdit[] {
  const { bound, findings } = rewriting;
  const names = new OrderedEdits(nameEdits(rewriting));
  const { conditions, edits: moved } = movedConditions(rewriting, names);
  const noisy = [...findings.summaries.values()].flatMap((summary) => noisyCalls(rewriting, summary, names));
  const returned = findings.returned.map((item) => returnedEdit(rewriting, item));
  const replacements = [...moved, ...noisy, ...returned];
  return [
    ...findings.kept.flatMap((each) => keptEdits(rewriting, each)),
    ...clauseEdits(rewriting),
    ...argumentEdits(rewriting),
    ...names.outside(new OrderedEdits(replacements)),
    ...replacements,
    ...relationEdits(rewriting, conditions),
    ...(findings.appended && bound.top ? appendedEdits(rewriting, bound.top, findings.appended) : []),
    ...copyEdits(rewriting),
    ...(findings.hidesFigures ? [planOptions(rewriting)] : []),
    ...limitEdits(rewriting),
  ];
}

/** For each query, in the order of its clauses. */
function clauseEdits(rewriting: Rewriting): readonly MadeEdit[] {
  const { bound, findings } = rewriting;
  return bound.queries.flatMap((query) => {
    const summary = findings.summaries.get(query);
    return [
      ...tableCommand(rewriting, query),
      ...filterEdits(rewriting, query),
      ...keyGroupings(rewriting, query),
      ...(summary === undefined ? [] : summaryClauses(rewriting, query, summary)),
    ];
  });
}

/** A subquery cannot follow TABLE. */
function tableCommand({ source }: Rewriting, query: BoundQuery): readonly MadeEdit[] {
  if (query.form !== "select" || !isTableCommand(query)) return [];
  const [item] = (query.node as SelectStmt).fromClause ?? [];
  if (item === undefined) throw new Error("TABLE of nothing");
  const before = nameSpan(source, nodeOf(item)[1] as RangeVar).first - 1;
  if (word(source, before) !== "table") throw new Error("TABLE is not where the grammar has it");
  const { start, end } = bytesOf(source, { first: before, last: before });
  return [{ at: start, end, text: "SELECT * FROM", change: { kind: "star" } }];
}

function limitEdits({ raw: { end }, index, findings: { limit } }: Rewriting): readonly MadeEdit[] {
  if (limit === undefined) return [];
  // On a separate line: the statement may end with a comment.
  return [{ at: end, end, text: `\nLIMIT ${limit}`, change: { kind: "limit", statement: index } }];
}

/** The parse tree repeats nodes (`SET (a, b) = (SELECT …)`), and their edits would be repeated too. */
function onceEach(edits: readonly MadeEdit[]): readonly MadeEdit[] {
  const places = new Map<number, MadeEdit[]>();
  return edits.filter((edit) => {
    const here = places.get(edit.at);
    if (here?.some(({ end, text }) => end === edit.end && text === edit.text)) return false;
    if (here === undefined) places.set(edit.at, [edit]);
    else here.push(edit);
    return true;
  });
}
