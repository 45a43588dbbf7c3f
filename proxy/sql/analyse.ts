import type { Relation } from "../catalog/catalog.ts";
import { limitsReads } from "../policy/policy.ts";
import { type Refusal, refuse } from "../wire/refusal.ts";
import { Analysis, type Level, Refused, type Visit, WRITE_OTHERWISE } from "./analysis.ts";
import { columnOrCall, indirection } from "./attributes.ts";
import { bindStatement } from "./bind/bind.ts";
import type { BoundStatement } from "./bind/bound.ts";
import { functionCall } from "./calls.ts";
import type { Constants } from "./constants.ts";
import { Effort } from "./effort.ts";
import { expectedNames } from "./expected-names.ts";
import * as expressions from "./expressions.ts";
import { UnknownSyntax } from "./grammar.ts";
import { refuseMovedPath } from "./moved-path.ts";
import { type ParsedText, parseText, type RawStatement, tooComplex } from "./parse.ts";
import { characterAt } from "./position.ts";
import { applyEdits, inOrder } from "./rewrite.ts";
import { isUnrestricted, type Scope } from "./scope.ts";
import { select } from "./select.ts";
import { type Sights, sightsOf } from "./sight.ts";
import { Source } from "./source.ts";
import { statement } from "./statements.ts";
import { survey } from "./survey.ts";
import type { MadeEdit, Statement, Verdict } from "./verdict.ts";
import { faultOf } from "./verify.ts";
import { countingScope, uncounted, watched } from "./watched.ts";
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
  JsonArrayAgg: gathering("JSON_ARRAYAGG"),
  JsonArrayQueryConstructor: gathering("JSON_ARRAY(…)"),
  JsonObjectAgg: gathering("JSON_OBJECTAGG"),
  MergeStmt: merge,
  // Every place where a relation may be named is visited by name; one that is not would go unseen.
  RangeVar: (analysis) =>
    analysis.refuse("42501", "a relation is named where Sluice does not know it", { hint: WRITE_OTHERWISE }),
  SelectStmt: select,
  SortBy: expressions.sortBy,
  SubLink: expressions.subLink,
  TypeName: expressions.typeName,
  UpdateStmt: update,
};

function gathering(name: string): Visit {
  return (analysis, body, level) => {
    analysis.gathers ??= name;
    analysis.children(GATHERING_NODES[name] ?? "", body, level);
  };
}

const GATHERING_NODES: Readonly<Record<string, string>> = {
  JSON_ARRAYAGG: "JsonArrayAgg",
  "JSON_ARRAY(…)": "JsonArrayQueryConstructor",
  JSON_OBJECTAGG: "JsonObjectAgg",
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
  if (scope.role.watch === true) return watch(text, scope, onLeftover, constants);
  if (isUnrestricted(scope.role)) return { kind: "pass", statements: survey(text, scope) };
  const parsed = parseText(text);
  if (!parsed.ok) return refused(parsed.refusal);
  constants?.watch(parsed.statements);
  try {
    return judge(new Source(text, () => constants?.see()), parsed, scope, onLeftover);
  } catch (error) {
    return refused(refusalOf(error, text));
  }
}

/** A watched role is refused nothing, and of what the analysis would change only added columns are kept. */
function watch(text: string, scope: Scope, onLeftover: OnLeftover, constants?: Constants): Verdict {
  const parsed = parseText(text);
  if (!parsed.ok) return uncounted(text, scope, parsed);
  constants?.watch(parsed.statements);
  const source = new Source(text, () => constants?.see());
  try {
    const { statements, ordered } = examine(source, parsed, countingScope(scope));
    return watched(text, scope, { source, parsed, statements, edits: ordered });
  } catch (error) {
    if (!(error instanceof Refused || error instanceof UnknownSyntax)) onLeftover(wordsOf(error));
    return uncounted(text, scope, parsed);
  }
}

/** What a text's statements do, and the edits that make them safe. Refuses by throwing. */
function examine(source: Source, { statements: raw }: ParsedText, scope: Scope) {
  if (!Effort.allows(raw.length)) throw new Refused(tooComplex("the text has too many statements"));
  const effort = new Effort();
  const sights = sightsOf(scope);
  const edits: MadeEdit[] = [];
  const places: number[] = [];
  const level: Level = { outer: undefined, ctes: undefined, references: [] };
  const bareNames = new Set<number>();
  const targets = new Set<number>();
  const statements = raw.map((each, index) => {
    const bound = boundStatement(each, scope, sights);
    effort.nextStatement();
    const analysis = new Analysis(
      scope,
      source,
      { raw: each, index, bound },
      sights,
      edits,
      places,
      effort,
      VISITORS,
    );
    const judged = statement(analysis, each, level);
    const names = expectedNames(each.node, bound);
    for (const place of names.bareNames) bareNames.add(place);
    for (const place of names.targets) targets.add(place);
    return judged;
  });
  refuseMovedPath(statements, raw, scope.catalog);
  refuseHalfDone(statements, scope);
  return { statements, ordered: inOrder(edits), sights, places, bareNames, targets };
}

function judge(source: Source, parsed: ParsedText, scope: Scope, onLeftover: OnLeftover): Verdict {
  const { statements, ordered, sights, places, bareNames, targets } = examine(source, parsed, scope);
  const { tree } = parsed;
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
  return ordered.length === 0 ? { kind: "pass", ...said } : { kind: "rewrite", ...said, ...rewritten };
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

function refusalOf(error: unknown, text: string): Refusal {
  if (error instanceof Refused) return error.refusal;
  if (error instanceof UnknownSyntax) {
    const { place } = error;
    return refuse("42501", "this statement uses syntax that Sluice does not know", {
      hint: 'Only a role with "reads: all", "writes: all" and "sees: all" may use it.',
      ...(place !== undefined && { position: characterAt(Buffer.from(text), place) }),
    });
  }
  if (error instanceof RangeError) return refuse("54001", "the statement is nested too deeply");
  // A fault of the analysis must refuse one statement, not end the process; it holds no text of the client.
  return refuse("42501", `this statement could not be analysed (${wordsOf(error)})`, {
    hint: "This is a fault of Sluice, not of the statement: please report it.",
  });
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : "unknown";
}
