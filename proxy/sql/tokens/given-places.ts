import type { A_ArrayExpr, A_Const, FuncCall, Node, ParamRef, TypeCast } from "libpg-query";
import { nodeOf } from "../parse/grammar.ts";
import { forEachObject } from "../parse/tree.ts";
import {
  type ComputedSide,
  foldOf,
  type PatternCondition,
  type Reading,
  type TokenView,
  withoutCasts,
} from "./blind-forms.ts";
import { DOCUMENT_HINT } from "./document-writes.ts";
import type { TokenColumn } from "./token-columns.ts";
import { isDocumentCast, isPlainArrayCast, isPlainCast } from "./token-traces.ts";
import type { UseRefusals } from "./use-refusals.ts";

/* Which constants and parameters of a statement are values of columns with tokens. */

/**
 * What becomes of a given value, which decides how it can stand for its tokens under several keys: it is stored; it is
 * the right side of `=` or `<>`; an item of IN or of an array; an array of values; something that takes one value alone;
 * or a pattern, which stands for the whole condition.
 */
export type Place = "stored" | "equal" | "unequal" | "item" | "list" | "single" | "pattern";

/** Where a value is given. */
export interface GivenAt {
  readonly place: Place;
  readonly column: TokenColumn;
  readonly reading: Reading;
  /** What the value's text replaces: the constant or parameter with casts and calls around it, or a whole condition. */
  readonly whole: Node;
  /** The constant or parameter with the casts around it. */
  readonly value: Node;
  /** The byte at which the list of IN begins. */
  readonly list?: number | undefined;
  readonly pattern?: Pick<PatternCondition, "column" | "isNegated"> | undefined;
}

/** A constant that is a value of a token column, or a list of values as the text of an array. */
export interface SealedConstant {
  readonly node: Node;
  readonly form: "value" | "array";
  readonly at: GivenAt;
}

export interface SealedParameter extends Pick<SealedConstant, "form"> {
  readonly at: readonly GivenAt[];
}

export interface Where extends Pick<GivenAt, "place" | "list" | "pattern"> {
  /** The value itself, if left out. */
  readonly reading?: Reading | undefined;
}

export function isSameReading(one: GivenAt, other: GivenAt): boolean {
  return (
    one.reading === other.reading &&
    one.column.associated === other.column.associated &&
    one.column.form === other.column.form
  );
}

/** Collects them: what is stored, and what is compared. */
export class GivenPlaces {
  readonly constants = new Map<Node, SealedConstant>();
  /** By their numbers. */
  readonly parameters = new Map<number, SealedParameter & { readonly at: GivenAt[] }>();
  readonly #view: TokenView;
  readonly #refusals: UseRefusals;

  constructor(view: TokenView, refusals: UseRefusals) {
    this.#view = view;
    this.#refusals = refusals;
  }

  /** A constant or a parameter, as a value of the column. Anything else is computed, and not by the proxy. */
  add(
    node: Node,
    column: TokenColumn,
    form: "value" | "array",
    where: Where,
    whole = node,
    value = node,
  ): void {
    const [type, body] = nodeOf(node);
    const at: GivenAt = { ...where, reading: where.reading ?? "token", column, whole, value };
    if (type === "A_Const" && (body as A_Const).isnull === true) return;
    if (type === "A_Const" && isText(body)) {
      const known = this.constants.get(node);
      if (known !== undefined && (!isSameReading(known.at, at) || known.form !== form))
        this.#refuseMixed(column);
      const isOther = known !== undefined && known.at.place !== at.place;
      this.constants.set(node, { node, form, at: isOther ? { ...at, place: "single" } : at });
      return;
    }
    if (type === "ParamRef") {
      this.#parameter((body as ParamRef).number ?? 0, { form, at: [at] });
      return;
    }
    if (type === "TypeCast") {
      const { arg, typeName } = body as TypeCast;
      const isPlain =
        column.form === "document"
          ? isDocumentCast(typeName)
          : form === "array"
            ? isPlainArrayCast(typeName, column)
            : isPlainCast(typeName, column);
      if (arg !== undefined && isPlain) {
        this.add(arg, column, form, where, whole, value);
        return;
      }
    }
    if (type === "A_ArrayExpr" && form === "array") {
      const place = where.place === "list" ? "item" : "single";
      for (const element of (body as A_ArrayExpr).elements ?? [])
        this.add(element, column, "value", { place, reading: where.reading });
      return;
    }
    const folded = FOLDED[at.reading];
    const [arg] = type === "FuncCall" ? ((body as FuncCall).args ?? []) : [];
    if (folded !== undefined && arg !== undefined && foldOf(this.#view, node) === folded.kind) {
      const [argType] = nodeOf(withoutCasts(arg));
      if (argType === "A_Const" || argType === "ParamRef") {
        this.add(arg, column, form, { ...where, reading: folded.as }, whole);
        return;
      }
    }
    this.#refusals.add(
      `${column.name} is stored as tokens, and a value for it must be a constant or a parameter`,
      column.form === "document"
        ? DOCUMENT_HINT
        : "Compute the value in the application, and send it as text: casts to text and varchar without a length may stand around it.",
    );
  }

  #parameter(number: number, { form, at }: SealedParameter): void {
    const known = this.parameters.get(number);
    if (known === undefined) {
      this.parameters.set(number, { form, at: [...at] });
      return;
    }
    const all = [...known.at, ...at];
    const [first] = all;
    // A text can hold several texts; an array, and bytes, cannot.
    const isOne = all.every((each) => first !== undefined && isSameReading(first, each));
    const mayDiffer =
      form === "value" && all.every(({ column: { form: of } }) => of !== "bytes" && of !== "document");
    if (known.form === form && (isOne || mayDiffer)) known.at.push(...at);
    else for (const { column } of at) this.#refuseMixed(column);
  }

  #refuseMixed({ name }: TokenColumn): void {
    this.#refusals.add(
      `a value is given for ${name}, which is stored as tokens, and for something else`,
      "Send it twice, as two parameters.",
    );
  }

  /** A parameter that is turned into a token is one everywhere. */
  check(): void {
    if (this.parameters.size === 0) return;
    const times = new Map<number, number>();
    const seen = new Set<object>();
    const look = (field: string, object: object): void => {
      if (field === "A_Const" || seen.has(object)) return;
      seen.add(object);
      const { number = 0 } = object as ParamRef;
      if (field === "ParamRef") times.set(number, (times.get(number) ?? 0) + 1);
      forEachObject(object, look);
    };
    for (const { node } of this.#view.statement.queries) look("", node);
    for (const [number, { at }] of this.parameters)
      for (const { column } of (times.get(number) ?? 0) > at.length ? at : []) this.#refuseMixed(column);
  }
}

/** `lower(given)` beside `lower(column)`, and the same of the last four characters. */
const FOLDED: Readonly<
  Partial<Record<Reading, { readonly kind: ComputedSide["kind"]; readonly as: Reading }>>
> = {
  "lower case": { kind: "case", as: "any case" },
  four: { kind: "last4", as: "last four" },
};

/**
 * Whether a constant is a text. The parser's JSON may leave out an empty one. The value itself is not looked at: texts
 * that differ in it share a verdict.
 */
function isText(constant: object): boolean {
  return (
    "sval" in constant || !["ival", "fval", "boolval", "bsval", "isnull"].some((kind) => kind in constant)
  );
}
