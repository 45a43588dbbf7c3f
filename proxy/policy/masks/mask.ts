import type { z } from "zod";
import type { Mask, Place } from "../policy.ts";
import type { Problems } from "../problems.ts";
import { castType } from "../sql-pieces.ts";

/*
 * Masks as SQL. They run in any session, under any search_path, with nothing installed, so they use only built-in
 * functions, operators and types, each with its schema. OPERATOR() has another precedence than the operator itself
 * (Postgres docs, "Operator Precedence"), so each one is in parentheses. CASE, COALESCE, GREATEST, LEAST and IS NULL
 * are grammar and look up no names.
 *
 * No mask may fail on any value, because the error message would show the value. Where a pattern does not match, no
 * part of the value may pass through.
 */

/** The type of a masked column. */
export interface MaskedType {
  /**
   * `format_type` with the modifier, usable in a cast: `character varying(20)`. For a domain: that of its base type.
   */
  readonly sql: string;
  /** pg_type.typcategory. */
  readonly category: string;
  /** Name in pg_catalog (text, varchar, int4, timestamptz …), `citext`, or `other`. */
  readonly name: string;
  /** The column's collation as SQL, if it differs from its type's. */
  readonly collation?: string;
}

export type MaskSql =
  | { readonly ok: true; readonly sql: string }
  | { readonly ok: false; readonly problem: string };

/** A mask in a policy file. */
export type MaskEntry = null | string | Readonly<Record<string, unknown>>;

/** A column to mask. */
export interface Masked {
  /** An SQL reference, quoted where needed: `c."email"` */
  readonly column: string;
  readonly type: MaskedType;
  /** The key for `token` masks. */
  readonly key: Buffer | undefined;
}

/** All that the proxy knows about one kind of mask. `all.ts` lists the kinds. */
export interface MaskKind<Kind extends Mask["kind"] = Mask["kind"], Value extends z.ZodType = z.ZodType> {
  /** Masks that a policy file writes as one word. */
  readonly words?: Readonly<Record<string, Extract<Mask, { kind: Kind }>>>;
  /** Masks that a policy file writes as `{ key: value }`. */
  readonly mapping?: {
    readonly key: string;
    readonly value: Value;
    /** Returns undefined and reports a problem if the value is invalid. */
    compile(
      value: z.infer<Value>,
      place: Place,
      problems: Problems,
    ): Extract<Mask, { kind: Kind }> | undefined;
  };
  readonly examples: readonly MaskEntry[];
  /** What the mask does: the hover text in editors, and its line in docs/policy.md. */
  readonly about: string;
  /** The columns that it fits. */
  readonly fits: string;
  /** The masked value, as one SQL expression of the column's exact type. */
  sql(mask: Extract<Mask, { kind: Kind }>, masked: Masked): MaskSql;
  /** The same for one text, computed by the proxy; null for NULL. Absent if only the database can compute it. */
  shown?(mask: Extract<Mask, { kind: Kind }>, value: string, key: Buffer | undefined): string | null;
  /** The mask as the console shows it. */
  text(mask: Extract<Mask, { kind: Kind }>): string | { readonly sql: string };
}

/** Gives a mask kind its exact types. */
export function maskKind<Kind extends Mask["kind"], Value extends z.ZodType>(
  _kind: Kind,
  made: MaskKind<Kind, Value>,
): MaskKind<Kind, Value> {
  return made;
}

/** The masked value in the column's own type; NULL stays NULL. */
export function typed(column: string, masked: string, type: MaskedType): MaskSql {
  const cast = `(CASE WHEN (${column}) IS NOT NULL THEN (${masked}) END)::${castType(type.sql)}`;
  return {
    ok: true,
    sql: type.collation === undefined ? `(${cast})` : `(${cast} COLLATE ${type.collation})`,
  };
}

export function unfit(type: MaskedType, fits: string): MaskSql {
  return { ok: false, problem: `this mask is for ${fits} columns, not for ${type.sql}` };
}
