import type {
  CopyStmt,
  DeclareCursorStmt,
  DeleteStmt,
  ExecuteStmt,
  ExplainStmt,
  InsertStmt,
  MergeStmt,
  Node,
  PrepareStmt,
  SelectStmt,
  UpdateStmt,
} from "libpg-query";
import { limitKey, limitsReads } from "../policy/policy.ts";
import { refuseCopiedActs, refuseRepeatedCalls } from "./acting-calls.ts";
import { type Analysis, type Level, type RelationUse, WRITE_OTHERWISE } from "./analysis.ts";
import { meetAnyQuery } from "./casts.ts";
import { copy } from "./copy.ts";
import { explainExecute, explainOptions, hidesPlan } from "./explain.ts";
import { type Body, nodeOf, stringOf } from "./grammar.ts";
import { noticesOf } from "./mask-comparisons.ts";
import {
  meterCopy,
  meterCopyIn,
  meterHeldCursor,
  meterMerge,
  meterPlan,
  meterReturning,
  meterSelect,
} from "./metering.ts";
import type { RawStatement } from "./parse.ts";
import { countsPeople } from "./pricing.ts";
import { pushLimit } from "./push-limit.ts";
import { select } from "./select.ts";
import { isSystemSchema } from "./system-relations.ts";
import { forEachObject } from "./tree.ts";
import {
  closePortal,
  deallocate,
  discard,
  execute,
  fetch,
  isHeld,
  lock,
  optionNames,
  set,
  setConstraints,
  show,
  transaction,
  type Utility,
} from "./utility.ts";
import type { Effect, Metering, Revealed, Statement, StatementKind } from "./verdict.ts";
import { insert, merge, remove, update, type WriteLevel } from "./writes.ts";
import { refuseWriteInExplain, writtenRows } from "./written.ts";

/** Judges one statement of a guarded role; its edits and uses are left in the analysis. Refuses by throwing. */
export function statement(analysis: Analysis, raw: RawStatement, level: Level): Statement {
  const judged = dispatch(analysis, raw, level);
  refuseUnvisited(analysis, raw.node);
  refuseUnread(analysis);
  return judged;
}

/** A relation that was not judged: the text names it in a way that is not known well enough. */
function refuseUnread(analysis: Analysis): void {
  if (analysis.unread.length > 0)
    analysis.refuse("42501", "a relation is named where Sluice does not know it", { hint: WRITE_OTHERWISE });
}

/** A call or a subquery that no visitor has come to would run unjudged: the syntax around it is not known well enough. */
function refuseUnvisited(analysis: Analysis, node: object): void {
  const look = (field: string, object: object): void => {
    // Nothing stands in a constant, and what looks into one judges by its value.
    if (field === "A_Const") return;
    if ((field === "FuncCall" || field === "SubLink") && !analysis.hasVisited(object))
      analysis.refuse(
        "42501",
        `${field === "FuncCall" ? "a function is called" : "a subquery stands"} where Sluice does not know it`,
        { hint: WRITE_OTHERWISE },
      );
    forEachObject(object, look);
  };
  forEachObject(node, look);
}

/** Statements with expressions. */
const COMPUTING: ReadonlySet<string> = new Set([
  "SelectStmt",
  "InsertStmt",
  "UpdateStmt",
  "DeleteStmt",
  "MergeStmt",
  "PrepareStmt",
  "ExecuteStmt",
  "DeclareCursorStmt",
  "CopyStmt",
  "ExplainStmt",
]);

function dispatch(analysis: Analysis, raw: RawStatement, level: Level): Statement {
  const [type, body] = nodeOf(raw.node);
  if (COMPUTING.has(type)) meetAnyQuery(analysis);
  const query = queryStatement(analysis, type, body, level);
  if (query !== undefined) {
    if (type === "SelectStmt") pushLimit(analysis, body as SelectStmt, raw, query);
    return query;
  }
  switch (type) {
    case "PrepareStmt":
      return prepare(analysis, body as PrepareStmt, level);
    case "DeclareCursorStmt":
      return declare(analysis, body as DeclareCursorStmt, level);
    case "CopyStmt": {
      const made = copy(analysis, body as CopyStmt, level);
      const { attlist } = body as CopyStmt;
      const [metering, tagged] =
        made.kind === "copyOut"
          ? [meterCopy(analysis), undefined]
          : [meterCopyIn(analysis, attlist?.map(stringOf)), analysis.uses.find(({ isTarget }) => isTarget)];
      const copied = {
        ...finish(analysis, "COPY", made.kind, metering, made),
        ...writtenRows(analysis, tagged),
      };
      if (made.kind === "copyOut" && metering !== undefined && limitsReads(analysis.scope.role))
        refuseCopiedActs(analysis);
      return copied;
    }
    case "ExplainStmt":
      return explain(analysis, body as ExplainStmt, raw, level);
    default: {
      const { command, kind, effect } = utility(analysis, type, body, level, raw);
      return finish(analysis, command, kind, undefined, effect);
    }
  }
}

/** SELECT, INSERT, UPDATE, DELETE, MERGE: what may also be prepared, explained or declared. */
function queryStatement(analysis: Analysis, type: string, body: Body, level: Level): Statement | undefined {
  const judged = ofQuery(analysis, type, body, level);
  const isSilent = type !== "SelectStmt" && !("returningClause" in body);
  return judged && isSilent ? { ...judged, silent: true } : judged;
}

function ofQuery(analysis: Analysis, type: string, body: Body, level: Level): Statement | undefined {
  switch (type) {
    case "SelectStmt": {
      const plain = select(analysis, body as SelectStmt, level);
      // Nothing of people comes with a plan.
      const metering = analysis.isPlan ? undefined : meterSelect(analysis, body as SelectStmt, plain);
      const kind = analysis.writes.size > 0 ? "write" : "read";
      return {
        ...finish(analysis, "SELECT", kind, metering, analysis.effect),
        ...writtenRows(analysis, undefined),
      };
    }
    case "InsertStmt":
      return write(analysis, "INSERT", insert(analysis, body as InsertStmt, level));
    case "UpdateStmt":
      return write(analysis, "UPDATE", update(analysis, body as UpdateStmt, level));
    case "DeleteStmt":
      return write(analysis, "DELETE", remove(analysis, body as DeleteStmt, level));
    case "MergeStmt":
      return write(analysis, "MERGE", merge(analysis, body as MergeStmt, level));
    default:
      return undefined;
  }
}

function write(analysis: Analysis, command: string, made: WriteLevel): Statement {
  const metering = analysis.isPlan
    ? undefined
    : command === "MERGE"
      ? meterMerge(analysis, made)
      : meterReturning(analysis, made);
  return {
    ...finish(analysis, command, "write", metering, undefined),
    ...writtenRows(analysis, made.target.use),
  };
}

function inner(analysis: Analysis, node: Node | undefined, level: Level): Statement {
  const [type, body] = nodeOf(node ?? {});
  return queryStatement(analysis, type, body, level) ?? notServed(analysis, type);
}

/** What PREPARE, DECLARE and EXPLAIN take beside queries. */
function notServed(analysis: Analysis, type: string): never {
  const what = OTHER_QUERIES[type] ?? "this statement";
  return analysis.deny(
    `role "${analysis.scope.role.name}" may not prepare or explain ${what}`,
    "sees",
    `Send it by itself, or explain the query in it; only a role with "reads: all", "writes: all" and "sees: all" may.`,
  );
}

/** ExplainableStmt and PreparableStmt of parser/gram.y. */
const OTHER_QUERIES: Readonly<Record<string, string>> = {
  CreateTableAsStmt: "CREATE TABLE … AS",
  RefreshMatViewStmt: "REFRESH MATERIALIZED VIEW",
  DeclareCursorStmt: "DECLARE CURSOR",
};

function prepare(analysis: Analysis, body: PrepareStmt, level: Level): Statement {
  analysis.nodes(body.argtypes, level);
  analysis.isForLater = true;
  const prepared = inner(analysis, body.query, level);
  return {
    ...finish(analysis, "PREPARE", "session", undefined, {
      kind: "prepare",
      name: body.name ?? "",
      inner: prepared,
    }),
    limited: false,
  };
}

function declare(analysis: Analysis, body: DeclareCursorStmt, level: Level): Statement {
  analysis.isForLater = true;
  const query = inner(analysis, body.query, level);
  const hold = isHeld(body);
  const effect: Effect = { kind: "declare", name: body.portalname ?? "", hold, inner: query };
  const metering = hold ? meterHeldCursor(query.metering) : undefined;
  return { ...finish(analysis, "DECLARE", "cursor", metering, effect), limited: false };
}

function explain(analysis: Analysis, body: ExplainStmt, raw: RawStatement, level: Level): Statement {
  analysis.isPlan = true;
  const [type, prepared] = nodeOf(body.query ?? {});
  if (type === "ExecuteStmt") {
    const { params } = prepared as ExecuteStmt;
    analysis.nodes(params, level);
    return finish(
      analysis,
      "EXPLAIN",
      "explain",
      undefined,
      explainExecute(analysis, body, prepared as ExecuteStmt),
    );
  }
  const { changes, ...explained } = inner(analysis, body.query, level);
  if (changes !== undefined && optionNames(body.options).includes("analyze"))
    refuseWriteInExplain(analysis, changes);
  explainOptions(analysis, body, raw);
  // EXPLAIN of a guarded relation never runs the statement.
  return { ...explained, command: "EXPLAIN", kind: "explain", limited: false, metering: meterPlan(analysis) };
}

function utility(analysis: Analysis, type: string, body: Body, level: Level, raw: RawStatement): Utility {
  switch (type) {
    case "TransactionStmt":
      return transaction(analysis, body);
    case "VariableSetStmt":
      return set(analysis, body);
    case "VariableShowStmt":
      return show(analysis, body);
    case "ExecuteStmt":
      return execute(analysis, body, level);
    case "DeallocateStmt":
      return deallocate(body);
    case "FetchStmt":
      return fetch(body);
    case "ClosePortalStmt":
      return closePortal(body);
    case "DiscardStmt":
      return discard(body);
    case "ConstraintsSetStmt":
      return setConstraints(analysis, body);
    case "LockStmt":
      return lock(analysis, body);
    case "UnlistenStmt":
      return { command: "UNLISTEN", kind: "session" };
    default:
      return analysis.refuse(
        "42501",
        `role "${analysis.scope.role.name}" may not run ${leadingWords(analysis, raw)}`,
        {
          rule: `roles.${analysis.scope.role.name}`,
          hint: `Only a role with "reads: all", "writes: all" and "sees: all" may (${analysis.rolePlace}).`,
        },
      );
  }
}

/** `CREATE TABLE`: the statement's first keywords, for messages. */
function leadingWords({ source }: Analysis, { start, end }: RawStatement): string {
  const words = source.tokens.filter((token) => token.start >= start && token.end <= end).slice(0, 2);
  return words
    .filter(({ text }) => /^[a-z]+$/i.test(text))
    .map(({ text }) => text.toUpperCase())
    .join(" ");
}

function finish(
  analysis: Analysis,
  command: string,
  kind: StatementKind,
  metering: Metering | undefined,
  effect: Effect | undefined,
): Statement {
  refuseGathering(analysis);
  refuseLasting(analysis);
  refuseRepeatedCalls(analysis);
  const data = analysis.uses.filter(isOfData);
  const notices = noticesOf(analysis);
  return {
    command,
    kind,
    reads: [...analysis.reads],
    writes: [...analysis.writes],
    masked: [...analysis.masked],
    revealed: revealedBy(analysis),
    lookups: analysis.lookups,
    ...(analysis.asks.length > 0 && { asks: analysis.asks }),
    ...(!analysis.isPlan && hidesPlan(analysis) && { hidesPlan: true }),
    ...(analysis.keeps !== undefined && { keeps: analysis.keeps }),
    ...(notices.length > 0 && { notices }),
    limited: data.length > 0 || analysis.calls > 0,
    ...(analysis.namesUnknown && { namesUnknown: true }),
    ...(analysis.actingCalls.length > 0 && { acts: true }),
    ...(metering !== undefined && {
      metering: analysis.cost === 1 ? metering : { ...metering, cost: analysis.cost },
    }),
    ...(effect !== undefined && { effect }),
  };
}

function revealedBy({ revealed: { shown, shownWhere, found } }: Analysis): Revealed {
  return { shown: [...shown], shownWhere: [...shownWhere], found: [...found] };
}

/** Without a row that leaves, what a call leaves behind would tell of people whom nobody has counted. */
function refuseLasting(analysis: Analysis): void {
  const { role } = analysis.scope;
  const people = analysis.uses.find(({ sight }) => sight?.people !== undefined);
  const isHeld = limitsReads(role) || role.aggregatesOnly !== undefined;
  if (analysis.lasting === undefined || people === undefined || !isHeld) return;
  analysis.deny(
    `role "${role.name}" may not call ${analysis.lasting} in a statement that reads ${people.key}`,
    role.aggregatesOnly !== undefined ? "aggregates_only" : limitKey(role),
    "What the call leaves behind could tell of people who are not counted; make it in a statement of its own.",
  );
}

/** Of no system relation, some of whose columns may be hidden as well. */
function isOfData({ sight, relation }: RelationUse): boolean {
  return sight !== undefined && !isSystemSchema(relation.schema);
}

/** Many people in one row would walk around a row limit. */
function refuseGathering(analysis: Analysis): void {
  const { role } = analysis.scope;
  const relation = analysis.uses.find(
    (use) => isOfData(use) && (use.sight?.people !== undefined || use.sight?.guarded === true),
  );
  if (analysis.uses.some(({ sight }) => sight?.gathers)) analysis.gathers ??= "a view that does";
  analysis.gathers ??= analysis.gatherings[0]?.what;
  // Where people are counted, what is gathered has a price: its people by name, or its size.
  if (analysis.gathers === undefined || !limitsReads(role) || countsPeople(role)) return;
  if (relation === undefined && analysis.calls === 0) return;
  analysis.deny(
    `role "${role.name}" has a limit and may not gather rows of ${relation?.key ?? "a function"} by ${analysis.gathers}`,
    limitKey(role),
    "Ask for the rows themselves; counts, sums and averages are fine. One person's rows may be gathered: of rows that are joined by another table's key, a path as their subject says whose they are (subject: ticket_id -> public.tickets.customer_id).",
  );
}
