import type { Carried, SearchKind } from "../tokens/blind-index.ts";

/** `searches:` of a class as it is written: a list for all keys, or lists by the version of the key. */
type WrittenSearches = readonly SearchKind[] | Readonly<Record<string, readonly SearchKind[]>>;

export function carriedOf(written: WrittenSearches | undefined): Carried {
  const lists = isList(written) ? [["1", written] as const] : Object.entries(written ?? {});
  return lists
    .map(([version, kinds]) => ({ from: Number(version), kinds: new Set(kinds) }))
    .sort((one, other) => one.from - other.from);
}

function isList(written: WrittenSearches | undefined): written is readonly SearchKind[] {
  return Array.isArray(written);
}
