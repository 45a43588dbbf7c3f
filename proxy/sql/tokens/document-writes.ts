import type { A_Expr, FuncCall, Node, TypeCast } from "libpg-query";
import { lastName, nodeOf } from "../parse/grammar.ts";
import { accessOf, builtinName, constantIn, pathIn, SETTING, symbolOf } from "./document-access.ts";
import { type DocumentColumn, leadsOn, partAt } from "./documents.ts";
import type { TokenColumn } from "./token-columns.ts";

/** A part of an expression, and the column whose value it becomes. */
export interface AssignedPart {
  readonly node: Node;
  readonly column: TokenColumn;
}

export const DOCUMENT_HINT =
  "Write the whole document as a constant or a parameter, column || document, jsonb_set with a constant path and a constant or a parameter, or jsonb_build_object with constant keys.";

const BUILDING = /^jsonb?_build_(object|array)$/;
const MAKING: ReadonlySet<string> = new Set(["to_jsonb", "to_json"]);

/** What the parts of an expression become that makes a document; undefined if that is not known. */
export function partsAssigned(
  type: string,
  body: object,
  column: DocumentColumn,
): readonly AssignedPart[] | undefined {
  if (type === "A_Expr") return changed(body as A_Expr, column);
  return type === "FuncCall" ? called(body as FuncCall, column) : undefined;
}

function changed(body: A_Expr, column: DocumentColumn): readonly AssignedPart[] | undefined {
  const { lexpr, rexpr } = body;
  const symbol = symbolOf(body);
  if (lexpr === undefined || rexpr === undefined) return undefined;
  // Both sides keep the places of their values, as long as neither becomes an element of the other.
  const { leaf, each } = column.shape;
  if (symbol === "||" && leaf === undefined && each === undefined)
    return [lexpr, rexpr].map((node) => ({ node, column }));
  return symbol === "-" || symbol === "#-" ? [{ node: lexpr, column }] : undefined;
}

function called(call: FuncCall, column: DocumentColumn): readonly AssignedPart[] | undefined {
  const name = builtinName(call) ?? "";
  const { args = [] } = call;
  const [first] = args;
  if (first === undefined) return undefined;
  if (SETTING.has(name)) return set(args, column);
  if (name === "jsonb_strip_nulls" || name === "json_strip_nulls") return [{ node: first, column }];
  if (MAKING.has(name) && args.length === 1 && column.shape.leaf !== undefined)
    return [{ node: first, column: column.shape.leaf }];
  const [, what] = BUILDING.exec(name) ?? [];
  // On the way to the values it would be of another form.
  if (what === "array" ? column.shape.each === undefined : column.shape.keys.size === 0) return undefined;
  if (what === "array") return parts(args.map((node) => ({ node, at: partAt(column, [{ index: true }]) })));
  return what === "object" ? built(args, column) : undefined;
}

function set(args: readonly Node[], column: DocumentColumn): readonly AssignedPart[] | undefined {
  const [target, path, value] = args;
  const steps = path && pathIn(path);
  if (target === undefined || value === undefined || steps === undefined) return undefined;
  const at = partAt(column, steps);
  if (at === undefined || !leadsOn(column, steps)) return undefined;
  return [{ node: target, column }, ...(at === "elsewhere" ? [] : [{ node: value, column: at }])];
}

function built(args: readonly Node[], column: DocumentColumn): readonly AssignedPart[] | undefined {
  if (args.length % 2 > 0) return undefined;
  const pairs = args.flatMap((key, index) => {
    const node = args[index + 1];
    if (index % 2 > 0 || node === undefined) return [];
    const name = constantIn(key);
    return [{ node, at: name === undefined ? undefined : partAt(column, [{ key: String(name) }]) }];
  });
  return parts(pairs);
}

interface Placed {
  readonly node: Node;
  readonly at: DocumentColumn | "elsewhere" | undefined;
}

function parts(placed: readonly Placed[]): readonly AssignedPart[] | undefined {
  if (placed.some(({ at }) => at === undefined)) return undefined;
  return placed.flatMap(({ node, at }) => {
    if (at === undefined || at === "elsewhere") return [];
    // A text becomes a string of the document.
    const { leaf } = at.shape;
    return [{ node, column: leaf === undefined || isJson(node) ? at : leaf }];
  });
}

/** Whether the expression gives JSON; otherwise it is taken for a text. */
function isJson(node: Node): boolean {
  const [type, body] = nodeOf(node);
  if (type === "TypeCast") return /^jsonb?$/.test(lastName((body as TypeCast).typeName?.names));
  if (type === "FuncCall") return true;
  const access = accessOf(type, body);
  return access !== undefined && !access.isText;
}
