import type { A_Expr, FuncCall, Node } from "libpg-query";
import {
  accessOf,
  builtinName,
  isBesideTokens,
  isChange,
  PASSING,
  SETTING,
  STRUCTURAL,
  symbolOf,
} from "./document-access.ts";
import type { DocumentColumn } from "./documents.ts";
import { asDocument, type Traces } from "./token-traces.ts";

/* What operators and functions may do with documents that have tokens inside. */

const JSONPATH = /^jsonb_path_(?:exists|match|query|query_array|query_first)(?:_tz)?$/;
const KEYS: ReadonlySet<string> = new Set(["?", "?|", "?&"]);

/** Whether a function works on a document with tokens as it would on one with values, or gives tokens as they are. */
export function mayTakeDocuments(call: FuncCall, traces: Traces): boolean {
  const { args = [] } = call;
  const [document, ...others] = args;
  const name = builtinName(call) ?? "";
  if (SETTING.has(name)) return args.every((arg) => !traces.holds(arg) || traces.holdsDocument(arg));
  if (document === undefined || !traces.holdsDocument(document) || others.some((arg) => traces.holds(arg)))
    return false;
  if (JSONPATH.test(name)) return isBeside(document, others[0], traces);
  return STRUCTURAL.has(name) || PASSING.has(name);
}

/** A search for documents that contain a given one. */
export interface Containment {
  readonly column: DocumentColumn;
  readonly given: Node;
}

/** "fine": it works on tokens. Undefined: it does not, or is not about documents. */
export function documentOperator(body: A_Expr, traces: Traces): "fine" | Containment | undefined {
  const { lexpr: left, rexpr: right } = body;
  const symbol = symbolOf(body);
  if (left === undefined || right === undefined || symbol === undefined) return undefined;
  const isPlain = (side: Node) => !traces.holds(side) || traces.holdsDocument(side);
  if (isChange(body)) return isPlain(left) && isPlain(right) ? "fine" : undefined;
  if (symbol === "<@") return contained(right, left, traces);
  if (symbol === "@>") return contained(left, right, traces);
  if (!traces.holdsDocument(left) || traces.holds(right)) return undefined;
  if (accessOf("A_Expr", body) !== undefined) return "fine";
  if (symbol === "@?" || symbol === "@@") return isBeside(left, right, traces) ? "fine" : undefined;
  const column = documentOf(left, traces);
  // They look at keys, and at strings that are elements.
  const isOfKeys = column?.shape.leaf === undefined && column?.shape.each?.leaf === undefined;
  return KEYS.has(symbol) && column !== undefined && isOfKeys ? "fine" : undefined;
}

function contained(container: Node, given: Node, traces: Traces): "fine" | Containment | undefined {
  const [column, other] = [documentOf(container, traces), documentOf(given, traces)];
  if (other !== undefined) return column?.associated === other.associated ? "fine" : undefined;
  // `given @> column`: what contains the column's document is a document of the column as well.
  if (column === undefined || traces.holds(given)) return undefined;
  return { column, given };
}

function documentOf(node: Node, traces: Traces): DocumentColumn | undefined {
  return asDocument(traces.ofNode(node));
}

function isBeside(document: Node, path: Node | undefined, traces: Traces): boolean {
  const column = documentOf(document, traces);
  return column !== undefined && path !== undefined && isBesideTokens(path, column);
}
