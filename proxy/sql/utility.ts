import type {
  A_Const,
  ClosePortalStmt,
  ConstraintsSetStmt,
  DeallocateStmt,
  DeclareCursorStmt,
  DefElem,
  DiscardStmt,
  ExecuteStmt,
  FetchStmt,
  LockStmt,
  Node,
  RangeVar,
  TransactionStmt,
  TypeCast,
  VariableSetStmt,
  VariableShowStmt,
} from "libpg-query";
import { foldAscii } from "../pg/setting-text.ts";
import type { Analysis, Level } from "./analysis.ts";
import { nodeOf, stringOf } from "./grammar.ts";
import { lockedRelation } from "./select.ts";
import { mayChangeSetting, SETTINGS_HINT } from "./session-settings.ts";
import type { Effect, StatementKind } from "./verdict.ts";

/** What a statement without a query of its own is and does. */
export interface Utility {
  readonly command: string;
  readonly kind: StatementKind;
  readonly effect?: Effect;
}

export function transaction(analysis: Analysis, { kind }: TransactionStmt): Utility {
  const command = TRANSACTION_COMMANDS[kind ?? ""];
  if (command === undefined) {
    return analysis.refuse("42501", `role "${analysis.scope.role.name}" may not use two-phase commit`, {
      hint: "A prepared transaction outlives its session.",
    });
  }
  const ends = command === "COMMIT" || command === "ROLLBACK";
  return { command, kind: "transaction", effect: { kind: "transaction", ends } };
}

const TRANSACTION_COMMANDS: Readonly<Record<string, string>> = {
  TRANS_STMT_BEGIN: "BEGIN",
  TRANS_STMT_START: "BEGIN",
  TRANS_STMT_COMMIT: "COMMIT",
  TRANS_STMT_ROLLBACK: "ROLLBACK",
  TRANS_STMT_SAVEPOINT: "SAVEPOINT",
  TRANS_STMT_RELEASE: "RELEASE",
  TRANS_STMT_ROLLBACK_TO: "ROLLBACK TO",
};

export function set(analysis: Analysis, { kind, name, args, is_local }: VariableSetStmt): Utility {
  if (kind === "VAR_RESET_ALL")
    return { command: "RESET", kind: "session", effect: { kind: "set", parameter: "all", local: false } };
  // SET TRANSACTION and SET SESSION CHARACTERISTICS change nothing but isolation and access mode.
  if (kind === "VAR_SET_MULTI") {
    if (name === "TRANSACTION" || name === "SESSION CHARACTERISTICS")
      return { command: "SET", kind: "session" };
    return analysis.refuse("42501", `SET ${name ?? ""} is not known`, { hint: SETTINGS_HINT });
  }
  const parameter = foldAscii(name ?? "");
  const values = kind === "VAR_SET_VALUE" ? (args ?? []).map(valueText) : undefined;
  if (!mayChangeSetting(parameter, values)) {
    analysis.refuse(
      "42501",
      `role "${analysis.scope.role.name}" may not change ${parameter}${values === undefined ? "" : " to this value"}`,
      {
        hint: SETTINGS_HINT,
      },
    );
  }
  return {
    command: kind === "VAR_RESET" ? "RESET" : "SET",
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

/** Settings with a dot in their name are applications' own, and may hold secrets. */
export function show(analysis: Analysis, { name }: VariableShowStmt): Utility {
  if ((name ?? "").includes("."))
    analysis.refuse("42501", `role "${analysis.scope.role.name}" may not show ${name ?? ""}`, {
      hint: 'Settings with a dot in their names are applications\' own, and may hold secrets: a function under "calls:" may read them.',
    });
  return { command: "SHOW", kind: "session" };
}

export function execute(analysis: Analysis, { name, params }: ExecuteStmt, level: Level): Utility {
  analysis.nodes(params, level);
  return { command: "EXECUTE", kind: "read", effect: { kind: "execute", name: name ?? "" } };
}

export function deallocate({ name }: DeallocateStmt): Utility {
  return { command: "DEALLOCATE", kind: "session", effect: { kind: "deallocate", name } };
}

/** What the parser makes of ALL (nodes/parsenodes.h); in its own tree it is a long's largest value, in JSON an int's. */
const FETCH_ALL = 2_147_483_647;

export function fetch({ portalname, ismove, direction, howMany }: FetchStmt): Utility {
  const most = Math.abs(Number(howMany ?? 0));
  return {
    command: ismove ? "MOVE" : "FETCH",
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

export function closePortal({ portalname }: ClosePortalStmt): Utility {
  return { command: "CLOSE", kind: "cursor", effect: { kind: "close", portal: portalname } };
}

export function discard({ target }: DiscardStmt): Utility {
  const what = target === "DISCARD_ALL" ? "all" : target === "DISCARD_PLANS" ? "plans" : "other";
  return { command: "DISCARD", kind: "session", effect: { kind: "discard", target: what } };
}

/** WITH HOLD (CURSOR_OPT_HOLD, nodes/parsenodes.h): the portal outlives its transaction. */
export function isHeld({ options }: DeclareCursorStmt): boolean {
  return ((options ?? 0) & 0x0020) !== 0;
}

/** SET CONSTRAINTS names constraints, not relations. One with its schema could not be told from a relation. */
export function setConstraints(analysis: Analysis, { constraints }: ConstraintsSetStmt): Utility {
  for (const node of constraints ?? []) {
    const { schemaname } = nodeOf(node)[1] as RangeVar;
    if (schemaname !== undefined)
      analysis.refuse("42501", "SET CONSTRAINTS takes names without a schema here", {
        hint: "Leave the schema out, or use SET CONSTRAINTS ALL.",
      });
  }
  return { command: "SET", kind: "session" };
}

export function lock(analysis: Analysis, { relations }: LockStmt): Utility {
  for (const node of relations ?? []) lockedRelation(analysis, nodeOf(node)[1]);
  return { command: "LOCK", kind: "other" };
}

/** Option names of EXPLAIN and COPY, in lower case. */
export function optionNames(options: readonly Node[] | undefined): readonly string[] {
  return (options ?? []).map((node) => ((nodeOf(node)[1] as DefElem).defname ?? "").toLowerCase());
}

export function optionText(options: readonly Node[] | undefined, name: string): string | undefined {
  const option = (options ?? [])
    .map((node) => nodeOf(node)[1] as DefElem)
    .find(({ defname }) => defname?.toLowerCase() === name);
  return option?.arg === undefined ? undefined : stringOf(option.arg);
}
