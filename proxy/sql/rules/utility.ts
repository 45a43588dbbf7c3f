import type {
  A_Const,
  ClosePortalStmt,
  ConstraintsSetStmt,
  DeallocateStmt,
  DiscardStmt,
  ExecuteStmt,
  FetchStmt,
  Node,
  RangeVar,
  TransactionStmt,
  TypeCast,
  VariableSetStmt,
  VariableShowStmt,
} from "libpg-query";
import { foldAscii } from "../../pg/setting-text.ts";
import type { Role } from "../../policy/policy.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { BoundStatement } from "../bind/bound.ts";
import { type Body, nodeOf } from "../parse/grammar.ts";
import { mayChangeSetting, mayReadName, namesPeople, SETTINGS_HINT } from "../session-settings.ts";
import type { Effect, StatementKind } from "../verdict.ts";

/* Statements without a query of their own. */

/** The effect of such a statement. */
export interface Utility {
  readonly kind: StatementKind;
  readonly effect?: Effect;
}

export type UtilityFinding = Utility | { readonly refusal: Refusal };

/** Undefined for a statement that no guarded role may run. */
export function utilityOf(
  role: Role,
  statement: BoundStatement,
  type: string,
  body: Body,
): UtilityFinding | undefined {
  switch (type) {
    case "TransactionStmt":
      return transaction(role, body);
    case "VariableSetStmt":
      return set(role, body);
    case "VariableShowStmt":
      return show(role, body);
    case "ExecuteStmt":
      return execute(statement, body);
    case "DeallocateStmt": {
      const { name } = body as DeallocateStmt;
      return { kind: "session", effect: { kind: "deallocate", name } };
    }
    case "FetchStmt":
      return fetch(body);
    case "ClosePortalStmt": {
      const { portalname } = body as ClosePortalStmt;
      return { kind: "cursor", effect: { kind: "close", portal: portalname } };
    }
    case "DiscardStmt":
      return discard(body);
    case "ConstraintsSetStmt":
      return setConstraints(body);
    case "LockStmt":
      return { kind: "other" };
    case "UnlistenStmt":
      return { kind: "session" };
    default:
      return undefined;
  }
}

function transaction(role: Role, { kind }: TransactionStmt): UtilityFinding {
  if (kind === undefined || !IN_ONE_PHASE.has(kind))
    return {
      refusal: refuse("42501", `role "${role.name}" may not use two-phase commit`, {
        hint: "A prepared transaction outlives its session.",
      }),
    };
  const ends = kind === "TRANS_STMT_COMMIT" || kind === "TRANS_STMT_ROLLBACK";
  return { kind: "transaction", effect: { kind: "transaction", ends } };
}

const IN_ONE_PHASE: ReadonlySet<string> = new Set([
  "TRANS_STMT_BEGIN",
  "TRANS_STMT_START",
  "TRANS_STMT_COMMIT",
  "TRANS_STMT_ROLLBACK",
  "TRANS_STMT_SAVEPOINT",
  "TRANS_STMT_RELEASE",
  "TRANS_STMT_ROLLBACK_TO",
]);

function set(role: Role, { kind, name, args, is_local }: VariableSetStmt): UtilityFinding {
  if (kind === "VAR_RESET_ALL")
    return { kind: "session", effect: { kind: "set", parameter: "all", local: false } };
  // SET TRANSACTION and SET SESSION CHARACTERISTICS change only isolation and access mode.
  if (kind === "VAR_SET_MULTI") {
    if (name === "TRANSACTION" || name === "SESSION CHARACTERISTICS") return { kind: "session" };
    return { refusal: refuse("42501", `SET ${name ?? ""} is not known`, { hint: SETTINGS_HINT }) };
  }
  const parameter = foldAscii(name ?? "");
  const values = kind === "VAR_SET_VALUE" ? (args ?? []).map(valueText) : undefined;
  if (!mayChangeSetting(parameter, values) && !namesPeople(role, parameter))
    return {
      refusal: refuse(
        "42501",
        `role "${role.name}" may not change ${parameter}${values === undefined ? "" : " to this value"}`,
        { hint: SETTINGS_HINT },
      ),
    };
  return {
    kind: "session",
    effect: { kind: "set", parameter, local: is_local === true },
  };
}

function valueText(node: Node): string {
  const [type, body] = nodeOf(node);
  if (type === "TypeCast") {
    const { arg } = body as TypeCast;
    return arg === undefined ? "" : valueText(arg);
  }
  const { sval, ival, fval, boolval } = body as A_Const;
  return (
    sval?.sval ??
    (ival === undefined ? undefined : String(ival.ival ?? 0)) ??
    fval?.fval ??
    String(boolval?.boolval ?? "")
  );
}

/** Settings with a dot in their name belong to applications and may contain secrets. */
function show(role: Role, { name }: VariableShowStmt): UtilityFinding {
  if (!(name ?? "").includes(".") || (namesPeople(role, name ?? "") && mayReadName(role)))
    return { kind: "session" };
  return {
    refusal: refuse("42501", `role "${role.name}" may not show ${name ?? ""}`, {
      hint: 'Settings with a dot in their names are applications\' own, and may hold secrets: a function under "calls:" may read them.',
    }),
  };
}

/** Postgres allows no subquery there either (EvaluateParams of commands/prepare.c). */
function execute({ queries }: BoundStatement, { name }: ExecuteStmt): UtilityFinding {
  if (queries.length > 1)
    return { refusal: refuse("42501", "EXECUTE takes no subquery", { hint: "Give the value itself." }) };
  return { kind: "read", effect: { kind: "execute", name: name ?? "" } };
}

/** The parser's value for ALL (nodes/parsenodes.h); in its own tree it is a long's largest value, in JSON an int's. */
const FETCH_ALL = 2_147_483_647;

function fetch({ portalname, ismove, direction, howMany }: FetchStmt): Utility {
  const most = Math.abs(Number(howMany ?? 0));
  return {
    kind: "cursor",
    effect: {
      kind: "fetch",
      portal: portalname ?? "",
      move: ismove === true,
      seeks: direction !== "FETCH_FORWARD" || most === 0,
      most: most < FETCH_ALL ? most : undefined,
    },
  };
}

function discard({ target }: DiscardStmt): Utility {
  const what = target === "DISCARD_ALL" ? "all" : target === "DISCARD_PLANS" ? "plans" : "other";
  return { kind: "session", effect: { kind: "discard", target: what } };
}

/**
 * SET CONSTRAINTS names constraints, not relations. A constraint with a schema could not be distinguished from a
 * relation.
 */
function setConstraints({ constraints }: ConstraintsSetStmt): UtilityFinding {
  const hasSchema = (constraints ?? []).some(
    (node) => (nodeOf(node)[1] as RangeVar).schemaname !== undefined,
  );
  if (!hasSchema) return { kind: "session" };
  return {
    refusal: refuse("42501", "SET CONSTRAINTS takes names without a schema here", {
      hint: "Leave the schema out, or use SET CONSTRAINTS ALL.",
    }),
  };
}
