import { positive } from "../schema.ts";
import { binary, concat, length, minus } from "../sql-pieces.ts";
import { maskKind } from "./mask.ts";
import { onText } from "./mask-text.ts";

export const first = maskKind("first", {
  mapping: { key: "first", value: positive, compile: (count) => ({ kind: "first", count }) },
  examples: [{ first: 3 }],
  about:
    "This many characters are shown, the others are stars; a value that is not longer is hidden completely.",
  fits: "text",
  sql: ({ count }, masked) => onText(masked, (value) => showFirst(value, count)),
  shown: ({ count }, value) =>
    starred(value, (characters) => characters.map((one, i) => (i < count ? one : "*")), count),
  text: ({ count }) => `the first ${count} characters stay`,
});

export const last = maskKind("last", {
  mapping: { key: "last", value: positive, compile: (count) => ({ kind: "last", count }) },
  examples: [{ last: 4 }],
  about:
    "This many characters are shown, the others are stars; a value that is not longer is hidden completely.",
  fits: "text",
  sql: ({ count }, masked) => onText(masked, (value) => showLast(value, count)),
  shown: ({ count }, value) =>
    starred(
      value,
      (characters) => characters.map((one, i) => (i >= characters.length - count ? one : "*")),
      count,
    ),
  text: ({ count }) => `the last ${count} characters stay`,
});

function starred(
  value: string,
  show: (characters: readonly string[]) => readonly string[],
  count: number,
): string {
  const characters = [...value];
  return characters.length > count ? show(characters).join("") : "*".repeat(characters.length);
}

function showFirst(value: string, count: number): string {
  const stars = `pg_catalog.repeat('*', ${minus(length(value), String(count))})`;
  return longerThan(value, count, concat(`pg_catalog.left(${value}, ${count})`, stars));
}

function showLast(value: string, count: number): string {
  const stars = `pg_catalog.repeat('*', ${minus(length(value), String(count))})`;
  return longerThan(value, count, concat(stars, `pg_catalog.right(${value}, ${count})`));
}

/** Hides a value entirely if it is no longer than the part that would be shown. */
function longerThan(value: string, count: number, shown: string): string {
  const hidden = `pg_catalog.repeat('*', ${length(value)})`;
  return `CASE WHEN ${binary(length(value), ">", String(count))} THEN ${shown} ELSE ${hidden} END`;
}
