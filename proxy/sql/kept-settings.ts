import type { A_Const, FuncCall, Node, TypeCast, VariableSetStmt } from "libpg-query";
import { foldAscii, isTrue, namesUtf8, splitNames } from "../pg/setting-text.ts";
import { nodeOf } from "./parse/grammar.ts";
import { isTemporarySchema } from "./session-settings.ts";

/**
 * The lasting effect of SET, RESET or set_config on a setting. `refused`: what is not possible, and what is possible
 * instead.
 */
export type Kept =
  | { readonly kind: "nothing" }
  /** search_path changes for the transaction. */
  | { readonly kind: "local path" }
  /** `toDefault`: it may have been set to its default value in this session. */
  | { readonly kind: "set"; readonly name: string; readonly toDefault: boolean }
  | { readonly kind: "refused"; readonly what: string; readonly hint: string };

/** The server reads texts according to these, and so does the proxy: they keep their values from login. */
const PINNED: ReadonlyMap<string, { readonly to: string; readonly is: (value: string) => boolean }> = new Map(
  [
    ["client_encoding", { to: "utf8", is: namesUtf8 }],
    ["standard_conforming_strings", { to: "on", is: isTrue }],
  ],
);

/** SET changes these only for the transaction, regardless of its wording. */
const OF_TRANSACTION = new Set(["transaction_isolation", "transaction_read_only", "transaction_deferrable"]);

const NOTHING = { kind: "nothing" } as const;

/** For SET and RESET of one setting. */
export function keptBySet({ kind, name, args, is_local }: VariableSetStmt): Kept {
  const values = kind === "VAR_SET_VALUE" ? (args ?? []).map(constantOf) : undefined;
  return keptOf(foldAscii(name ?? ""), values, is_local === true);
}

export function keptBySetConfig({ args }: FuncCall): Kept {
  const [name, value, isLocal] = (args ?? []).map(constantOf);
  if (name !== undefined && isLocal !== undefined) {
    const parameter = foldAscii(name);
    const schemas = parameter === "search_path" && value !== undefined ? splitNames(value) : undefined;
    return keptOf(parameter, schemas ?? [value], isLocal === "true");
  }
  if (isLocal === "true") return { kind: "local path" };
  return {
    kind: "refused",
    what: "set_config with a name or a scope that is no constant",
    hint: "Write both into the text.",
  };
}

/** `values` is undefined for RESET; an element of it is undefined if it is not a constant. */
function keptOf(name: string, values: readonly (string | undefined)[] | undefined, isLocal: boolean): Kept {
  const pinned = PINNED.get(name);
  if (pinned !== undefined) {
    // RESET restores the value with which the proxy logged in.
    if (values === undefined || values.every((each) => each !== undefined && pinned.is(each))) return NOTHING;
    return { kind: "refused", what: `SET ${name} to this value`, hint: `It stays ${pinned.to}.` };
  }
  if (isLocal) return name === "search_path" ? { kind: "local path" } : NOTHING;
  if (OF_TRANSACTION.has(name)) return NOTHING;
  switch (name) {
    case "role":
    case "session_authorization":
      if (values === undefined) return NOTHING;
      if (name === "role" && values.every((each) => each === "none"))
        return { kind: "set", name, toDefault: false };
      return { kind: "refused", what: `SET ${name}`, hint: "Use SET LOCAL ROLE inside a transaction." };
    case "seed":
      return { kind: "refused", what: "SET seed", hint: "Connect past the pool for this." };
    case "search_path":
      if (values?.some((each) => each === undefined || isTemporarySchema(each))) {
        return {
          kind: "refused",
          what: "pg_temp in search_path",
          hint: "Use SET LOCAL inside a transaction.",
        };
      }
  }
  return { kind: "set", name, toDefault: values === undefined || values.includes(undefined) };
}

/** A constant's text; undefined if the node is not a constant. */
function constantOf(node: Node): string | undefined {
  const [type, body] = nodeOf(node);
  if (type === "TypeCast") {
    const { arg } = body as TypeCast;
    return arg === undefined ? undefined : constantOf(arg);
  }
  if (type !== "A_Const") return undefined;
  const { sval, ival, fval, boolval } = body as A_Const;
  if (boolval !== undefined) return String(boolval.boolval ?? false);
  if (ival !== undefined) return String(ival.ival ?? 0);
  return sval === undefined ? fval?.fval : (sval.sval ?? "");
}
