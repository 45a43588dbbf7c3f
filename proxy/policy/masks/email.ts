import { concat } from "../sql-pieces.ts";
import { maskKind } from "./mask.ts";
import { onText } from "./text.ts";

export const email = maskKind("email", {
  words: { email: { kind: "email" } },
  examples: ["email"],
  about: "alice@example.com becomes a***@example.com.",
  fits: "text",
  sql: (_, masked) => onText(masked, emailOf),
  shown: (_, value) => {
    const [, first = ""] = /^([^@\s]).+@[^@\s]+$/su.exec(value) ?? [];
    const domain = /^[@\s]*[^@\s].*@([^@\s]+)$/su.exec(value)?.[1];
    return domain === undefined ? "[redacted]" : `${first}***@${domain}`;
  },
  text: () => "email",
});

/**
 * alice@example.com becomes a***@example.com; a@example.com becomes ***@example.com; anything else is hidden entirely.
 */
function emailOf(value: string): string {
  const first = `COALESCE(pg_catalog.substring(${value}, '^([^@[:space:]]).+@[^@[:space:]]+$'), '')`;
  const domain = `pg_catalog.substring(${value}, '^[@[:space:]]*[^@[:space:]].*@([^@[:space:]]+)$')`;
  return `COALESCE(${concat(concat(first, "'***@'"), domain)}, '[redacted]')`;
}
