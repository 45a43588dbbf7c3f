import type { Relation } from "../catalog/catalog.ts";
import { limitsReads } from "../policy/policy.ts";
import { type Refusal, refuse } from "../wire/refusal.ts";
import { Analysis, type Level, Refused, type Visit } from "./analysis.ts";
import { columnOrCall, indirection } from "./attributes.ts";
import { bindStatement } from "./bind/bind.ts";
import type { BoundStatement } from "./bind/bound.ts";
import { functionCall } from "./calls.ts";
import type { Constants } from "./constants.ts";
import { expectedNames } from "./expected-names.ts";
import * as expressions from "./expressions.ts";
import { UnknownSyntax } from "./grammar.ts";
import { type ParsedText, parseText, type RawStatement, tooComplex } from "./parse.ts";
import { applyEdits, inOrder } from "./rewrite.ts";
import { isUnrestricted, type Scope } from "./scope.ts";
import { select } from "./select.ts";
import { type Sights, sightsOf } from "./sight.ts";
import { Source } from "./source.ts";
import { statement } from "./statements.ts";
import { survey } from "./survey.ts";
import type { MadeEdit, Statement, Verdict } from "./verdict.ts";
import { faultOf } from "./verify.ts";
import { insert, merge, remove, update } from "./writes.ts";

const VISITORS: Readonly<Record<string, Visit>> = {
  A_Expr: expressions.operatorExpression,
  A_Indirection: indirection,
  CaseExpr: expressions.caseExpression,
  CollateClause: expressions.collate,
  ColumnRef: columnOrCall,
  DeleteStmt: remove,
  FuncCall: functionCall,
  IndexElem: expressions.indexElement,
  InsertStmt: insert,
  MergeStmt: merge,
  // Every place where a relation may be named is visited by name; one that is not would go unseen.
  RangeVar: (analysis) => analysis.refuse("42501", "a relation is named where Sluice does not know it"),
  SelectStmt: select,
  SortBy: expressions.sortBy,
  SubLink: expressions.subLink,
  TypeName: expressions.typeName,
  UpdateStmt: update,
};

/** Told what the verification pass finds wrong, a relation left over or a change out of place: a fault of the analysis. */
export type OnLeftover = (name: string) => void;

/**
 * Judges a statement text for a scope: parse, resolve, judge, rewrite, verify. Pure; never throws for any
 * text. `constants` has seen afterwards whether the verdict may hang on
 * the value of a literal.
 */
export function analyse(
  text: string,
  scope: Scope,
  onLeftover: OnLeftover = () => {},
  constants?: Constants,
): Verdict {
  if (isUnrestricted(scope.role)) return { kind: "pass", statements: survey(text, scope) };
  const parsed = parseText(text);
  if (!parsed.ok) return refused(parsed.refusal);
  constants?.watch(parsed.statements);
  try {
    return judge(new Source(text, () => constants?.see()), parsed, scope, onLeftover);
  } catch (error) {
    return refused(refusalOf(error));
  }
}

function judge(
  source: Source,
  { statements: raw, tree }: ParsedText,
  scope: Scope,
  onLeftover: OnLeftover,
): Verdict {
  const sights = sightsOf(scope);
  const edits: MadeEdit[] = [];
  const places: number[] = [];
  const level: Level = { outer: undefined, ctes: undefined, references: [] };
  const bareNames = new Set<number>();
  const targets = new Set<number>();
  const statements = raw.map((each, index) => {
    const bound = boundStatement(each, scope, sights);
    const analysis = new Analysis(
      scope,
      source,
      { raw: each, index, bound },
      sights,
      edits,
      places,
      VISITORS,
    );
    const judged = statement(analysis, each, level);
    const names = expectedNames(each.node, bound);
    for (const place of names.bareNames) bareNames.add(place);
    for (const place of names.targets) targets.add(place);
    return judged;
  });
  refuseMovedSearchPath(statements);
  refuseHalfDone(statements, scope);
  const ordered = inOrder(edits);
  const rewritten = applyEdits(source, ordered);
  const wrong = faultOf(scope, sights, source, ordered, { tree, bareNames, targets });
  if (wrong !== undefined) {
    onLeftover(wrong);
    return refused(
      refuse("42501", `the rewritten statement did not verify (${wrong})`, {
        hint: "This is a fault of Sluice, not of the statement: please report it.",
      }),
    );
  }
  const said = { statements, ...(places.length > 0 && { places }) };
  return edits.length === 0 ? { kind: "pass", ...said } : { kind: "rewrite", ...said, ...rewritten };
}

/** What the names of the statement mean in the text that is sent. */
function boundStatement(
  { node }: RawStatement,
  { catalog, searchPath }: Scope,
  sights: Sights,
): BoundStatement {
  const absent = (relation: Relation) => sights.absent(relation);
  const result = bindStatement(node, { catalog, searchPath, absent });
  if (result.ok) return result.statement;
  if (result.reason === "depth") throw new Refused(tooComplex("the statement is nested too deeply"));
  throw new UnknownSyntax(result.message);
}

/** Names are resolved once for the whole text, so it may not move search_path under way. */
function refuseMovedSearchPath(statements: readonly Statement[]): void {
  const moves = statements.findIndex(
    ({ effect }) =>
      effect?.kind === "set" && (effect.parameter === "search_path" || effect.parameter === "all"),
  );
  if (moves >= 0 && moves < statements.length - 1) {
    throw new Refused(
      refuse("42501", "search_path may only be changed by the last statement of a message", {
        hint: "Send the statements one by one.",
      }),
    );
  }
}

/**
 * A result that a limit cuts off fails its whole message, as any error does. The server may have run on by then,
 * and what comes after in the same message must not have been written and committed.
 */
function refuseHalfDone(statements: readonly Statement[], { role }: Scope): void {
  const { rows, bytes, onExcess } = role.limits;
  if (!limitsReads(role)) return;
  const first = statements.findIndex(
    ({ limited, metering }) =>
      limited && metering !== undefined && (metering.subjects.length > 0 || metering.unknown > 0),
  );
  if (first < 0 || statements.length === 1) return;
  const lasts = statements.some(
    ({ kind, effect }, index) =>
      index >= first &&
      (kind === "write" || kind === "copyIn" || (effect?.kind === "transaction" && effect.ends)),
  );
  if (!lasts && onExcess === "error") return;
  throw new Refused(
    refuse("42501", "a result that may be cut off cannot be followed by a write or COMMIT in one message", {
      rule: `roles.${role.name}.${rows === undefined && bytes === undefined ? "budget" : "rows"}`,
      hint: "Send the statements one by one.",
    }),
  );
}

function refused(refusal: Refusal): Verdict {
  return { kind: "refuse", statements: [], refusal };
}

function refusalOf(error: unknown): Refusal {
  if (error instanceof Refused) return error.refusal;
  if (error instanceof UnknownSyntax) {
    return refuse("42501", `this statement uses syntax that Sluice does not know (${error.message})`, {
      hint: "Only a role that sees, reads and writes all may use it.",
    });
  }
  if (error instanceof RangeError) return refuse("54001", "the statement is nested too deeply");
  // A fault of the analysis must refuse one statement, not end the process; it holds no text of the client.
  return refuse(
    "42501",
    `this statement could not be analysed (${error instanceof Error ? error.message : "unknown"})`,
    { hint: "This is a fault of Sluice, not of the statement: please report it." },
  );
}
