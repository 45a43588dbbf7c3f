import type { A_Const, A_Expr, FuncCall, Node, TypeCast } from "libpg-query";
import { foldAscii, splitNames } from "../../pg/setting-text.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { BoundColumn, BoundStatement } from "../bind/bound.ts";
import { forEachChild, nodeOf, stringOf, visitNode } from "../parse/grammar.ts";
import {
  isOpenSetting,
  mayChangeSetting,
  mayReadName,
  namesPeople,
  SETTINGS_HINT,
} from "../session-settings.ts";
import { denied, placeOfRole } from "./denied.ts";
import type { Given } from "./given.ts";
import { ownColumnOf } from "./simple-comparisons.ts";

/* Calls that read or change settings and sequences. */

/** `current_setting(s.name)` of pg_settings s, as in psql's \dconfig: that view shows the setting anyway. */
function rowOfSettings(statement: BoundStatement, { args = [] }: FuncCall): BoundColumn | undefined {
  const [argument] = args;
  if (argument === undefined || statement.problems.some(({ node }) => node === nodeOf(argument)[1]))
    return undefined;
  const column = ownColumnOf(statement, argument);
  const source = column?.relation.source;
  const isSettings =
    source?.kind === "table" &&
    source.relation.schema === "pg_catalog" &&
    source.relation.name === "pg_settings";
  return isSettings && column?.source.kind === "own" && column.source.column.name === "name"
    ? column
    : undefined;
}

/**
 * `set_config(name, …) FROM pg_settings WHERE name = '…'`, as pg_dump writes for a setting that older servers lack. The
 * condition is the whole WHERE and FROM contains nothing else, so the call is for that one row.
 */
function settingOfRow(statement: BoundStatement, body: FuncCall): string | undefined {
  const column = rowOfSettings(statement, body);
  const query = statement.queries.find(({ calls }) => calls.some(({ node }) => node === body));
  const [only, ...more] = query?.relations ?? [];
  const [condition, ...others] = query?.clauses.where ?? [];
  if (column === undefined || only !== column.relation || more.length > 0) return undefined;
  const [type, where] = condition === undefined || others.length > 0 ? [] : nodeOf(condition);
  const { kind, name, lexpr, rexpr } = (type === "A_Expr" ? where : {}) as A_Expr;
  if (kind !== "AEXPR_OP" || lexpr === undefined || rexpr === undefined) return undefined;
  const isName = ownColumnOf(statement, lexpr) === column;
  return isName && (name ?? []).map(stringOf).join() === "=" ? constantText(rexpr) : undefined;
}

/** The effect of current_setting or set_config: why it is refused, or the setting that it changes. */
export type SettingCall =
  | { readonly kind: "refused"; readonly refusal: Refusal }
  | { readonly kind: "changes"; readonly parameter: string }
  | { readonly kind: "reads" };

/** Allowed with constants only. Settings with a dot belong to applications and may contain secrets. */
export function settingCall(
  statement: BoundStatement,
  { role }: Pick<Given, "role">,
  body: FuncCall,
  name: "current_setting" | "set_config",
): SettingCall {
  if (name === "current_setting" && rowOfSettings(statement, body) !== undefined) return { kind: "reads" };
  const [first, value] = (body.args ?? []).map(constantText);
  const parameter = first ?? settingOfRow(statement, body);
  if (parameter !== undefined && namesPeople(role, parameter) && (name === "set_config" || mayReadName(role)))
    return nameCall(body, parameter, name);
  if (parameter === undefined || parameter.includes("."))
    return refused(
      refuse("42501", `${name} needs the name of one of Postgres's own settings, as a constant`, {
        hint: 'Settings with a dot in their names are applications\' own, and may hold secrets: a function under "calls:" may read them.',
      }),
    );
  if (name === "current_setting") return { kind: "reads" };
  const folded = foldAscii(parameter);
  if (mayBecome(folded, value)) return { kind: "changes", parameter: folded };
  return refused(
    refuse("42501", `role "${role.name}" may not change ${folded} to this value`, { hint: SETTINGS_HINT }),
  );
}

/** What is written there can be read again, so it comes from the client and from no relation. */
function nameCall(
  { args = [] }: FuncCall,
  parameter: string,
  name: "current_setting" | "set_config",
): SettingCall {
  if (name === "current_setting") return { kind: "reads" };
  if (args.slice(1).every(isOfClient)) return { kind: "changes", parameter: foldAscii(parameter) };
  return refused(
    refuse("42501", `${parameter} takes a constant or a parameter`, {
      hint: "It names the person for whom the application reads.",
    }),
  );
}

/** A constant or a parameter, perhaps cast. */
function isOfClient(node: Node): boolean {
  const [type, body] = nodeOf(node);
  if (type !== "TypeCast") return type === "A_Const" || type === "ParamRef";
  const { arg } = body as TypeCast;
  return arg !== undefined && isOfClient(arg);
}

function refused(refusal: Refusal): SettingCall {
  return { kind: "refused", refusal };
}

/** `value` is undefined if it is not a constant: some settings may have any value. */
function mayBecome(parameter: string, value: string | undefined): boolean {
  if (isOpenSetting(parameter)) return true;
  if (value === undefined) return false;
  const values = parameter === "search_path" ? splitNames(value) : [value];
  return values !== undefined && mayChangeSetting(parameter, values);
}

/** A restore sets sequences. Allowed with constants only: a value put into a sequence could be read there uncounted. */
export function sequenceSet({ role }: Pick<Given, "role">, { args = [] }: FuncCall): Refusal | undefined {
  if (role.writes === "all" && args.every(isGiven)) return undefined;
  return denied(
    role,
    `role "${role.name}" may not call setval`,
    "writes",
    `Only a role that writes all may, and with constants: "writes: all" of ${placeOfRole(role)}.`,
  );
}

/** Whether it contains nothing of a relation. */
function isGiven(node: Node): boolean {
  let given = true;
  const look = (type: string, body: object): void => {
    given &&= type !== "ColumnRef" && type !== "SubLink";
    if (given) forEachChild(type, body, look);
  };
  visitNode(node, look);
  return given;
}

function constantText(node: Node): string | undefined {
  const [type, body] = nodeOf(node);
  return type === "A_Const"
    ? ((body as A_Const).sval?.sval ?? ((body as A_Const).sval === undefined ? undefined : ""))
    : undefined;
}
