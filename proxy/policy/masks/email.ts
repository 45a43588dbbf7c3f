import { concat } from "../sql-pieces.ts";
import { maskKind } from "./mask.ts";
import { onText } from "./mask-text.ts";

export const email = maskKind("email", {
  words: { email: { kind: "email" } },
  examples: ["email"],
  about: "alice@example.com becomes a***@example.com.",
  fits: "text",
  sql: (_, masked) => onText(masked, emailOf),
  // Without the patterns, whose time would grow with the square of a long value.
  shown: (_, value) => {
    const at = value.lastIndexOf("@");
    const [head, domain] = [value.slice(0, Math.max(at, 0)), value.slice(at + 1)];
    if (at < 0 || domain === "" || /\s/.test(domain) || !/[^@\s]/.test(head)) return "[redacted]";
    const [first = "", ...more] = head;
    return `${more.length > 0 && /[^@\s]/.test(first) ? first : ""}***@${domain}`;
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
