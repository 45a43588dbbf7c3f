import { z } from "zod";
import type { Mask, Place } from "../policy.ts";
import type { Problems } from "../problems.ts";
import { inline, mapping } from "../schema.ts";
import { constant } from "./constant.ts";
import { email } from "./email.ts";
import { first, last } from "./ends.ts";
import { hash } from "./hash.ts";
import { initials } from "./initials.ts";
import type { MaskEntry, MaskedType, MaskKind, MaskSql } from "./mask.ts";
import { nothing } from "./null.ts";
import { own } from "./own.ts";
import { round } from "./round.ts";
import { token } from "./token.ts";
import { truncate } from "./truncate.ts";

/** Every kind of mask; a missing one does not compile. In the order of the docs. */
const KINDS = {
  null: nothing,
  constant,
  initials,
  email,
  first,
  last,
  token,
  hash,
  round,
  truncate,
  sql: own,
} satisfies { readonly [Kind in Mask["kind"]]: MaskKind<Kind> };

export const MASK_KINDS: readonly MaskKind[] = Object.values(KINDS);

const HINT = `A mask: ${MASK_KINDS.flatMap(({ examples }) => examples)
  .map(inline)
  .join(", ")}.`;

const words = new Map(MASK_KINDS.flatMap((kind) => Object.entries(kind.words ?? {})));
const mappings = MASK_KINDS.flatMap((kind) => kind.mapping ?? []);

export const maskSchema = z
  .union(
    [
      // An unquoted null is YAML's own null. It can only mean the strongest mask.
      z.null(),
      z.enum([...words.keys()]),
      ...mappings.map(({ key, value }) => mapping({ [key]: value }, HINT)),
    ],
    { error: HINT },
  )
  .describe(
    [
      "How a value looks to those who may not see it. NULL stays NULL, and the column keeps its type.",
      ...MASK_KINDS.map(
        ({ examples, about, fits }) => `${examples.map(inline).join(", ")} (${fits}): ${about}`,
      ),
    ].join("\n"),
  );

/** The mask that an entry means. For an invalid entry: the strongest mask, and a problem is reported. */
export function compileMask(entry: MaskEntry, place: Place, problems: Problems): Mask {
  const word = typeof entry === "string" ? words.get(entry) : undefined;
  if (word !== undefined) return word;
  if (entry !== null && typeof entry === "object") {
    const [[key, value] = []] = Object.entries(entry);
    const made = mappings.find((each) => each.key === key)?.compile(value, place, problems);
    if (made !== undefined) return made;
  }
  return { kind: "null" };
}

/**
 * The masked value of a column, as one SQL expression of the column's exact type.
 *
 * @param column an SQL reference, quoted where needed: `c."email"`
 * @param key the key for `token` masks
 */
export function maskSql(mask: Mask, column: string, type: MaskedType, key: Buffer | undefined): MaskSql {
  return kindOf(mask).sql(mask, { column, type, key });
}

/** Whether the proxy can compute the mask of a text by itself. */
export function isShownByProxy(mask: Mask): boolean {
  return kindOf(mask).shown !== undefined;
}

/** What `maskSql` gives for a text, computed by the proxy: for values that the database holds as tokens. */
export function shownText(mask: Mask, value: string, key: Buffer | undefined): string | null {
  return kindOf(mask).shown?.(mask, value, key) ?? null;
}

/** A mask as shown to people. */
export function maskText(mask: Mask): string | { readonly sql: string } {
  return kindOf(mask).text(mask);
}

function kindOf({ kind }: Mask): MaskKind {
  return KINDS[kind];
}
