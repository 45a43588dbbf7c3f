import type { A_Const, A_Expr, FuncCall, Node } from "libpg-query";
import { foldAscii, splitNames } from "../pg/setting-text.ts";
import { type Analysis, candidates, type FromReference, type Level } from "./analysis.ts";
import { isGiven, plainFields } from "./expressions.ts";
import { nodeOf, stringOf } from "./grammar.ts";
import { isOpenSetting, mayChangeSetting, SETTINGS_HINT } from "./session-settings.ts";

/* Calls that read or change settings and sequences. */

/** `current_setting(s.name)` of pg_settings s, as psql's \dconfig asks: that view shows the setting anyway. */
export function rowOfSettings(body: FuncCall, level: Level): FromReference | undefined {
  const [argument] = body.args ?? [];
  const fields = argument === undefined ? [] : plainFields(argument);
  if (fields.length === 0 || fields.length > 2 || fields.at(-1) !== "name") return undefined;
  const [reference, ...others] = candidates(level, fields.at(-2), "name");
  return others.length === 0 &&
    reference?.use?.key === "pg_catalog.pg_settings" &&
    reference.columns?.get("name") === "name"
    ? reference
    : undefined;
}

/**
 * `set_config(name, …) FROM pg_settings WHERE name = '…'`, as pg_dump writes: a setting that older servers lack. The
 * condition is the whole WHERE and nothing else stands in FROM, so the call is of that one row.
 */
function settingOfRow(body: FuncCall, level: Level): string | undefined {
  const reference = rowOfSettings(body, level);
  if (reference === undefined || level.references[0] !== reference || level.references.length > 1) return;
  const [type, where] = level.where === undefined ? [] : nodeOf(level.where);
  const { kind, name, lexpr, rexpr } = (type === "A_Expr" ? where : {}) as A_Expr;
  if (kind !== "AEXPR_OP" || lexpr === undefined || rexpr === undefined) return undefined;
  const fields = plainFields(lexpr);
  const isName = fields.at(-1) === "name" && [reference.alias, undefined].includes(fields.at(-2));
  return isName && (name ?? []).map(stringOf).join() === "=" ? constantText(rexpr) : undefined;
}

/** current_setting and set_config, with constants only. Settings with a dot are applications' own and may hold secrets. */
export function setting(analysis: Analysis, body: FuncCall, name: string, level: Level): void {
  const [first, value] = (body.args ?? []).map(constantText);
  const parameter = first ?? settingOfRow(body, level);
  if (parameter === undefined || parameter.includes(".")) {
    analysis.refuse("42501", `${name} needs the name of one of Postgres's own settings, as a constant`, {
      hint: 'Settings with a dot in their names are applications\' own, and may hold secrets: a function under "calls:" may read them.',
    });
  }
  if (name === "current_setting") return;
  const folded = foldAscii(parameter);
  if (!mayBecome(folded, value)) {
    analysis.refuse("42501", `role "${analysis.scope.role.name}" may not change ${folded} to this value`, {
      hint: SETTINGS_HINT,
    });
  }
  analysis.effect = { kind: "set", parameter: folded, local: false };
}

/** `value` is undefined where it is no constant: some settings may have any. */
function mayBecome(parameter: string, value: string | undefined): boolean {
  if (isOpenSetting(parameter)) return true;
  if (value === undefined) return false;
  const values = parameter === "search_path" ? splitNames(value) : [value];
  return values !== undefined && mayChangeSetting(parameter, values);
}

/** A restore sets sequences. Of constants alone: what is put into one could be read there uncounted. */
export function setsSequence(analysis: Analysis, body: FuncCall): void {
  if (analysis.scope.role.writes === "all" && (body.args ?? []).every(isGiven)) return;
  analysis.deny(
    `role "${analysis.scope.role.name}" may not call setval`,
    "writes",
    `Only a role that writes all may, and with constants: "writes: all" of ${analysis.rolePlace}.`,
  );
}

function constantText(node: Node): string | undefined {
  const [type, body] = nodeOf(node);
  return type === "A_Const"
    ? ((body as A_Const).sval?.sval ?? ((body as A_Const).sval === undefined ? undefined : ""))
    : undefined;
}
