import { maskKind } from "./mask.ts";
import { onText } from "./mask-text.ts";

export const initials = maskKind("initials", {
  words: { initials: { kind: "initials" } },
  examples: ["initials"],
  about: "Alice Ng becomes A. N.",
  fits: "text",
  sql: (_, masked) => onText(masked, initialsOf),
  shown: (_, value) =>
    [...value.replace(/(\S)\S*\s*/gu, "$1. ").replace(/^ +/, "")].slice(0, 12).join("").replace(/ +$/, ""),
  text: () => "initials",
});

/** Alice Ng becomes A. N.; at most four words, because a text of one-letter words would otherwise be shown entirely. */
function initialsOf(value: string): string {
  const words = `pg_catalog.regexp_replace(${value}, '([^[:space:]])[^[:space:]]*[[:space:]]*', E'\\\\1. ', 'g')`;
  return `pg_catalog.rtrim(pg_catalog.left(pg_catalog.ltrim(${words}), 12))`;
}
