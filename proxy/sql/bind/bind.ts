import type {
  CopyStmt,
  CreateTableAsStmt,
  DeclareCursorStmt,
  ExplainStmt,
  LockStmt,
  Node,
  PrepareStmt,
  SelectStmt,
} from "libpg-query";
import { type Body, nodeOf, UnknownSyntax } from "../grammar.ts";
import { Binder, checkGrammar, NotUnderstood, type Visitor } from "./binder.ts";
import type { BoundStatement, StatementKind } from "./bound.ts";
import { bindCopy } from "./copy.ts";
import type { Environment } from "./environment.ts";
import { EXPRESSION_VISITORS } from "./expressions.ts";
import { bindLock } from "./lock.ts";
import { bindMerge } from "./merge.ts";
import { topScope } from "./scope.ts";
import { bindSelect } from "./select.ts";
import { bindDelete, bindInsert, bindUpdate } from "./writes.ts";

/** A bound statement, or the node at which it was not understood. */
export type BindResult =
  | { readonly ok: true; readonly statement: BoundStatement }
  | {
      readonly ok: false;
      readonly reason: "syntax" | "depth";
      readonly message: string;
      readonly node: Body;
    };

const VISITORS: Readonly<Record<string, Visitor>> = {
  ...EXPRESSION_VISITORS,
  SelectStmt: bindSelect,
  InsertStmt: bindInsert,
  UpdateStmt: bindUpdate,
  DeleteStmt: bindDelete,
  MergeStmt: bindMerge,
};

/**
 * Finds out what each name of one parsed statement means, as Postgres's own parse analysis does (parser/analyze.c). It
 * reads the tree and the catalog and nothing else, and looks at no constant.
 */
export function bindStatement(node: Node, environment: Environment): BindResult {
  const binder = new Binder(environment, VISITORS);
  try {
    const { kind, queryNode } = bindTop(binder, ...nodeOf(node));
    return { ok: true, statement: finished(binder, kind, queryNode) };
  } catch (error) {
    if (error instanceof NotUnderstood) {
      const { reason, message, node: at } = error;
      return { ok: false, reason, message, node: at };
    }
    if (error instanceof UnknownSyntax) return { ok: false, reason: "syntax", message: error.message, node };
    throw error;
  }
}

function finished(binder: Binder, kind: StatementKind, queryNode: Body | undefined): BoundStatement {
  const { queries, queryOf, bodyOf, recursive, meanings, problems } = binder;
  const top = queryNode && queryOf.get(queryNode);
  return { kind, top, queries, queryOf, parentOf: binder.parents(), bodyOf, recursive, meanings, problems };
}

interface Top {
  readonly kind: StatementKind;
  /** The node of the statement's query. */
  readonly queryNode: Body | undefined;
}

/** Statements around a query, and the field that has it. */
const WRAPPERS: Readonly<Record<string, readonly [StatementKind, (body: Body) => Node | undefined]>> = {
  ExplainStmt: ["explain", (body) => (body as ExplainStmt).query],
  DeclareCursorStmt: ["declare", (body) => (body as DeclareCursorStmt).query],
  PrepareStmt: ["prepare", (body) => (body as PrepareStmt).query],
  CreateTableAsStmt: ["create as", (body) => (body as CreateTableAsStmt).query],
};

const WRITES: Readonly<Record<string, StatementKind>> = {
  InsertStmt: "insert",
  UpdateStmt: "update",
  DeleteStmt: "delete",
  MergeStmt: "merge",
};

function bindTop(binder: Binder, type: string, body: Body): Top {
  const scope = topScope();
  const wrapper = WRAPPERS[type];
  if (wrapper !== undefined) {
    const [kind, queryIn] = wrapper;
    const inner = queryIn(body);
    return { kind, queryNode: inner && bindTop(binder, ...nodeOf(inner)).queryNode };
  }
  if (type === "CopyStmt") {
    const { query, whereClause } = body as CopyStmt;
    for (const part of [query, whereClause]) if (part !== undefined) checkGrammar(...nodeOf(part));
    bindCopy(binder, body as CopyStmt, scope);
    return { kind: "copy", queryNode: query === undefined ? body : nodeOf(query)[1] };
  }
  if (type === "LockStmt") {
    bindLock(binder, body as LockStmt, scope);
    return { kind: "lock", queryNode: undefined };
  }
  const kind = type === "SelectStmt" ? kindOf(body as SelectStmt) : WRITES[type];
  if (kind === undefined) return { kind: "utility", queryNode: undefined };
  checkGrammar(type, kind === "create as" ? { ...body, intoClause: undefined } : body);
  binder.visit(type, body, scope);
  return { kind, queryNode: body };
}

function kindOf({ intoClause, valuesLists }: SelectStmt): StatementKind {
  if (intoClause !== undefined) return "create as";
  return valuesLists === undefined ? "select" : "values";
}
