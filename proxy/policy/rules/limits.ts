import { z } from "zod";
import type { Limits, Role } from "../policy.ts";
import { BYTES_HINT, none, positive, size } from "../schema.ts";
import { bytesText, sizeBytes } from "../units.ts";
import { type FactLine, roleRule } from "./rule.ts";

const number = z.union([none, positive], { error: "A whole number, 1 or more, or none." });

/** What one statement may return or write. */
export const limits = roleRule("limits", {
  keys: {
    rows: {
      schema: number,
      about: "Rows that one statement may return. No limit if left out.",
      example: 100,
      reason: "rows",
    },
    bytes: {
      schema: z.union([none, size], { error: BYTES_HINT }),
      about: "Bytes that one statement may return: 256kB, 10MB. No limit if left out.",
      example: "256kB",
      reason: "bytes",
    },
    changes: {
      schema: number,
      about:
        "Rows that one statement may insert, update, delete or copy in. One that would write more fails, and " +
        "leaves nothing behind. Any number if left out.",
      example: 10,
      reason: "changes",
    },
    on_excess: {
      schema: z.enum(["error", "truncate"], { error: "error or truncate." }),
      about: "Past rows or bytes: an error (the default), or the first rows and a warning.",
      example: "truncate",
    },
    push_limit: {
      schema: z.boolean({ error: "true or false." }),
      about:
        "Ends a SELECT without a LIMIT by LIMIT rows + 1, so that the server stops early. It may choose another plan, and " +
        "another order where ORDER BY leaves it open. false if left out.",
      example: true,
    },
  },
  compile({ entry }, base) {
    const rows = entry.rows === undefined ? base?.rows : entry.rows === "none" ? undefined : entry.rows;
    const bytes =
      entry.bytes === undefined ? base?.bytes : entry.bytes === "none" ? undefined : sizeBytes(entry.bytes);
    const changes =
      entry.changes === undefined ? base?.changes : entry.changes === "none" ? undefined : entry.changes;
    return {
      ...(rows === undefined ? {} : { rows }),
      ...(bytes === undefined ? {} : { bytes }),
      ...(changes === undefined ? {} : { changes }),
      onExcess: entry.on_excess ?? base?.onExcess ?? "error",
      pushed: entry.push_limit ?? base?.pushed ?? false,
    };
  },
  guardedBy: (value) => (["rows", "bytes", "changes"] as const).filter((key) => value[key] !== undefined),
  unrestricted: { onExcess: "error", pushed: false },
  idle: [
    {
      key: "push_limit",
      isIdle: (role) => role.limits.pushed && role.limits.rows === undefined,
      why: 'there is no "rows" to end a statement by',
      hint: 'Add "rows:", or remove it.',
    },
    {
      key: "on_excess",
      isIdle: (role) => role.limits.onExcess === "truncate" && hasNoLimit(role),
      why: 'there is neither "rows" nor "bytes" to be past',
      hint: 'Add "rows:" or "bytes:", or remove it.',
    },
  ],
  fact: { label: "One statement", lines: linesOf },
});

function hasNoLimit({ limits: { rows, bytes } }: Role): boolean {
  return rows === undefined && bytes === undefined;
}

function linesOf({ rows, bytes, changes, onExcess }: Limits): readonly FactLine[] {
  const read = [
    ...(rows === undefined ? [] : [`${rows.toLocaleString("en")} rows`]),
    ...(bytes === undefined ? [] : [bytesText(bytes)]),
  ];
  const ending = onExcess === "truncate" ? ", then cut" : "";
  const lines = [
    ...(read.length > 0 ? [[`${read.join(", ")}${ending}`]] : []),
    ...(changes === undefined ? [] : [[`${changes.toLocaleString("en")} rows written`]]),
  ];
  return lines.length > 0 ? lines : [["without limit"]];
}
