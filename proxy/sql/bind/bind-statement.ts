import type {
  CopyStmt,
  CreateTableAsStmt,
  DeclareCursorStmt,
  ExecuteStmt,
  ExplainStmt,
  LockStmt,
  Node,
  PrepareStmt,
  SelectStmt,
  TypeName,
} from "libpg-query";
import { type Body, nodeOf, UnknownSyntax } from "../parse/grammar.ts";
import { Binder, checkGrammar, NotUnderstood, type NotUnderstoodReason, type Visitor } from "./binder.ts";
import type { BoundKind, BoundStatement } from "./bound.ts";
import { bindCopy } from "./copy-statement.ts";
import type { Environment } from "./environment.ts";
import { bindExecute } from "./execute-statement.ts";
import { EXPRESSION_VISITORS } from "./expressions.ts";
import { bindLock } from "./lock.ts";
import { bindMerge } from "./merge.ts";
import { topScope } from "./name-scope.ts";
import { bindSelect } from "./select.ts";
import { bindDelete, bindInsert, bindUpdate } from "./writes.ts";

/** A bound statement, or the node that was not understood. */
export type BindResult =
  | { readonly ok: true; readonly statement: BoundStatement }
  | {
      readonly ok: false;
      readonly reason: NotUnderstoodReason;
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
 * Resolves each name of one parsed statement, as Postgres's own parse analysis does (parser/analyze.c). It reads only
 * the tree and the catalog, and looks at no constant.
 */
export function bindStatement(node: Node, environment: Environment): BindResult {
  const binder = new Binder(environment, VISITORS);
  try {
    return { ok: true, statement: finished(binder, bindTop(binder, ...nodeOf(node))) };
  } catch (error) {
    if (error instanceof NotUnderstood) {
      const { reason, message, node: at } = error;
      return { ok: false, reason, message, node: at };
    }
    if (error instanceof UnknownSyntax) return { ok: false, reason: "syntax", message: error.message, node };
    throw error;
  }
}

function finished(binder: Binder, { kind, queryNode, meant, parameterTypes = [] }: Top): BoundStatement {
  binder.checkAllMet(meant);
  const { queries, queryOf, bodyOf, recursive, meanings, needSchema, behind, problems } = binder;
  return {
    ...{ kind, queries, queryOf, bodyOf, recursive, meanings, needSchema, behind, problems, parameterTypes },
    top: queryNode && queryOf.get(queryNode),
    parentOf: binder.parents(),
  };
}

interface Top {
  readonly kind: BoundKind;
  /** The node of the statement's query. */
  readonly queryNode: Body | undefined;
  /** Nodes that must be visited. */
  readonly meant: readonly Body[];
  readonly parameterTypes?: readonly TypeName[];
}

/** Statements that contain a query, and the field that contains it. */
const WRAPPERS: Readonly<Record<string, readonly [BoundKind, (body: Body) => Node | undefined]>> = {
  ExplainStmt: ["explain", (body) => (body as ExplainStmt).query],
  DeclareCursorStmt: ["declare", (body) => (body as DeclareCursorStmt).query],
  PrepareStmt: ["prepare", (body) => (body as PrepareStmt).query],
  CreateTableAsStmt: ["create as", (body) => (body as CreateTableAsStmt).query],
};

const WRITES: Readonly<Record<string, BoundKind>> = {
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
    const top = inner && bindTop(binder, ...nodeOf(inner));
    const types = type === "PrepareStmt" ? ((body as PrepareStmt).argtypes ?? []) : [];
    const meant = checkParts(types);
    binder.bind(types, scope);
    return {
      kind,
      queryNode: top?.queryNode,
      meant: [...meant, ...(top?.meant ?? [])],
      parameterTypes: scope.level.types,
    };
  }
  if (type === "CopyStmt") {
    const { query, whereClause } = body as CopyStmt;
    const meant = checkParts([query, whereClause].filter((part) => part !== undefined));
    bindCopy(binder, body as CopyStmt, scope);
    return { kind: "copy", queryNode: query === undefined ? body : nodeOf(query)[1], meant };
  }
  if (type === "LockStmt") {
    bindLock(binder, body as LockStmt, scope);
    return { kind: "lock", queryNode: undefined, meant: [] };
  }
  if (type === "ExecuteStmt") {
    const meant = checkParts((body as ExecuteStmt).params ?? []);
    bindExecute(binder, body as ExecuteStmt, scope);
    return { kind: "execute", queryNode: undefined, meant };
  }
  const kind = type === "SelectStmt" ? kindOf(body as SelectStmt) : WRITES[type];
  if (kind === undefined) return { kind: "utility", queryNode: undefined, meant: [] };
  const meant = checkGrammar(type, kind === "create as" ? { ...body, intoClause: undefined } : body);
  binder.visit(type, body, scope);
  // A copy of the body was visited.
  return { kind, queryNode: body, meant: kind === "create as" ? meant.slice(1) : meant };
}

function checkParts(nodes: readonly Node[]): readonly Body[] {
  return nodes.flatMap((node) => checkGrammar(...nodeOf(node)));
}

function kindOf({ intoClause, valuesLists }: SelectStmt): BoundKind {
  if (intoClause !== undefined) return "create as";
  return valuesLists === undefined ? "select" : "values";
}
