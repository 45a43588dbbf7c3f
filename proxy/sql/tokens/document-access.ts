import type {
  A_ArrayExpr,
  A_Const,
  A_Expr,
  A_Indices,
  A_Indirection,
  FuncCall,
  List,
  Node,
  RangeFunction,
  TypeCast,
} from "libpg-query";
import { arrayValues } from "../../pg/array-text.ts";
import { isBuiltinName, lastName, nodeOf } from "../parse/grammar.ts";
import type { DocumentColumn, Step } from "./documents.ts";

/* Ways into JSON documents, as statements write them (Postgres docs, "JSON Functions and Operators"). */

/** An expression that gives a part of a document. */
export interface Access {
  readonly of: Node;
  /** It gives a string itself, and not as JSON. */
  readonly isText: boolean;
  /** Undefined if they are not constants. This looks at the constants. */
  readonly steps: () => readonly Step[] | undefined;
}

const OPERATORS: Readonly<Record<string, { readonly isText: boolean; readonly isPath: boolean }>> = {
  "->": { isText: false, isPath: false },
  "->>": { isText: true, isPath: false },
  "#>": { isText: false, isPath: true },
  "#>>": { isText: true, isPath: true },
};

const EXTRACTING = /^jsonb?_extract_path(?:_text)?$/;
const ELEMENTS = /^jsonb?_array_elements(?:_text)?$/;

/** Functions that put a value into a document. */
export const SETTING: ReadonlySet<string> = new Set(["jsonb_set", "jsonb_set_lax", "jsonb_insert"]);

/** Functions that give parts of a document, or the document, in whatever form. */
export const PASSING: ReadonlySet<string> = new Set(
  ["json", "jsonb"]
    .flatMap((type) =>
      "each each_text array_elements array_elements_text extract_path extract_path_text strip_nulls to_record to_recordset"
        .split(" ")
        .map((name) => `${type}_${name}`),
    )
    .concat("jsonb_pretty", ...SETTING),
);

/** Functions that look at nothing but the structure. */
export const STRUCTURAL: ReadonlySet<string> = new Set(
  ["json", "jsonb"].flatMap((type) =>
    ["typeof", "array_length", "object_keys"].map((name) => `${type}_${name}`),
  ),
);

/** The symbol of one of Postgres's own operators with two sides. */
export function symbolOf({ kind, name = [] }: A_Expr): string | undefined {
  return kind === "AEXPR_OP" && isBuiltinName(name) ? lastName(name) : undefined;
}

const CHANGES: ReadonlySet<string> = new Set(["||", "-", "#-"]);

/** Whether an operator gives a document that is changed. */
export function isChange(body: A_Expr): boolean {
  return CHANGES.has(symbolOf(body) ?? "");
}

export function accessOf(type: string, body: object): Access | undefined {
  switch (type) {
    case "A_Expr": {
      const { lexpr, rexpr } = body as A_Expr;
      const symbol = symbolOf(body as A_Expr) ?? "";
      const operator = Object.hasOwn(OPERATORS, symbol) ? OPERATORS[symbol] : undefined;
      if (operator === undefined || lexpr === undefined || rexpr === undefined) return undefined;
      const { isText, isPath } = operator;
      return { of: lexpr, isText, steps: () => (isPath ? pathIn(rexpr) : together([stepIn(rexpr)])) };
    }
    case "FuncCall": {
      const { args: [of, ...way] = [] } = body as FuncCall;
      const name = builtinName(body as FuncCall) ?? "";
      if (of === undefined) return undefined;
      const isText = name.endsWith("_text");
      if (EXTRACTING.test(name)) return { of, isText, steps: () => together(way.map(eitherIn)) };
      return ELEMENTS.test(name) && way.length === 0
        ? { of, isText, steps: () => [{ index: true }] }
        : undefined;
    }
    case "A_Indirection": {
      const { arg: of, indirection = [] } = body as A_Indirection;
      const steps = subscripts(indirection);
      return of === undefined || steps === undefined ? undefined : { of, isText: false, steps };
    }
    default:
      return undefined;
  }
}

/** `[…][…]`; undefined for anything else. */
export function subscripts(indirection: readonly Node[]): Access["steps"] | undefined {
  const indices = indirection.map((node) => {
    const [type, body] = nodeOf(node);
    return type === "A_Indices" && (body as A_Indices).is_slice !== true ? (body as A_Indices) : undefined;
  });
  if (indices.length === 0 || indices.includes(undefined)) return undefined;
  return () => together(indices.map((each) => each?.uidx && eitherIn(each.uidx)));
}

/** `jsonb_array_elements(…)`, as the only function of a FROM item. */
export function expanded(node: object): Access | undefined {
  const call = onlyCall(node);
  return call !== undefined && ELEMENTS.test(builtinName(call) ?? "")
    ? accessOf("FuncCall", call)
    : undefined;
}

/** The same for `jsonb_each(…)`. */
export function isEach(node: object): boolean {
  const call = onlyCall(node);
  return call !== undefined && /^jsonb?_each(?:_text)?$/.test(builtinName(call) ?? "");
}

function onlyCall(node: object): FuncCall | undefined {
  const { functions = [], coldeflist } = node as RangeFunction;
  const [only, ...more] = functions;
  const [call] = only === undefined ? [] : ((nodeOf(only)[1] as List).items ?? []);
  if (call === undefined || more.length > 0 || coldeflist !== undefined) return undefined;
  const [type, body] = nodeOf(call);
  return type === "FuncCall" ? (body as FuncCall) : undefined;
}

/** The name of a function that is called without a schema, or with that of Postgres's own. */
export function builtinName({ funcname = [], func_variadic }: FuncCall): string | undefined {
  return isBuiltinName(funcname) && func_variadic !== true ? lastName(funcname) : undefined;
}

function together(steps: readonly (Step | undefined)[]): readonly Step[] | undefined {
  const known = steps.filter((step) => step !== undefined);
  return known.length === steps.length ? known : undefined;
}

/** The value of a constant, with casts to its own type around it. */
export function constantIn(node: Node): string | number | undefined {
  const [type, body] = nodeOf(node);
  if (type === "TypeCast") {
    const { arg, typeName } = body as TypeCast;
    const value = arg && constantIn(arg);
    const isNumber = NUMBERS.has(lastName(typeName?.names));
    const isText = TEXTS.has(lastName(typeName?.names)) && (typeName?.typmods ?? []).length === 0;
    const isPlain =
      (typeName?.arrayBounds ?? []).length === 0 && (typeof value === "number" ? isNumber : isText);
    return isPlain ? value : undefined;
  }
  if (type !== "A_Const") return undefined;
  const { ival, sval } = body as A_Const;
  if (sval !== undefined) return sval.sval ?? "";
  return ival === undefined ? undefined : (ival.ival ?? 0);
}

const NUMBERS: ReadonlySet<string> = new Set(["int4", "int8", "int2"]);
const TEXTS: ReadonlySet<string> = new Set(["text", "varchar"]);

function stepIn(node: Node): Step | undefined {
  const value = constantIn(node);
  if (value === undefined) return undefined;
  return typeof value === "number" ? { index: true } : { key: value };
}

function eitherIn(node: Node): Step | undefined {
  const value = constantIn(node);
  return value === undefined ? undefined : { either: String(value) };
}

/** `'{a,b}'`, or `ARRAY['a', 'b']`. */
export function pathIn(node: Node): readonly Step[] | undefined {
  const [type, body] = nodeOf(node);
  if (type === "TypeCast") {
    const { arg, typeName } = body as TypeCast;
    const isTexts = TEXTS.has(lastName(typeName?.names)) && (typeName?.arrayBounds ?? []).length === 1;
    return arg === undefined || !isTexts ? undefined : pathIn(arg);
  }
  if (type === "A_ArrayExpr") return together(((body as A_ArrayExpr).elements ?? []).map(eitherIn));
  const text = type === "A_Const" ? constantIn(node) : undefined;
  const values = typeof text === "string" ? arrayValues(text) : undefined;
  return values && together(values.map((either) => (either === null ? undefined : { either })));
}

/**
 * The first key behind `$`, when nothing else of the path begins at the root. The key is whole: an unquoted one may have
 * escapes and letters of all scripts (jsonpath_scan.l). A name before a parenthesis is a method, and comments may hide that.
 */
const BELOW_A_KEY =
  /^\s*(?:(?:lax|strict)\s+)?\$\s*\.\s*(?:([A-Za-z_][A-Za-z0-9_]*)|"([^"\\]*)")(?![^\s.[?<>=!+*/%&|-])\s*(?![\s(])(?:[^$/]|\/(?!\*))*$/;

/** Whether a jsonpath clearly reaches no token: all of it is below a key that has none. */
export function isBesideTokens(path: Node, { shape }: DocumentColumn): boolean {
  const [type, body] = nodeOf(path);
  const plain =
    type === "TypeCast" && lastName((body as TypeCast).typeName?.names) === "jsonpath"
      ? ((body as TypeCast).arg ?? path)
      : path;
  const text = constantIn(plain);
  const [, name, quoted] = (typeof text === "string" && BELOW_A_KEY.exec(text)) || [];
  const key = name ?? quoted;
  // In lax mode an array at the root is looked into.
  return key !== undefined && shape.each === undefined && shape.leaf === undefined && !shape.keys.has(key);
}
