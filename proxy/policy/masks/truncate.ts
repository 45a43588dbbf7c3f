import { binary } from "../sql-pieces.ts";
import { type Masked, type MaskSql, maskKind, typed, unfit } from "./mask.ts";

export const truncate = maskKind("truncate", {
  words: { year: { kind: "truncate", to: "year" }, month: { kind: "truncate", to: "month" } },
  examples: ["year", "month"],
  about: "The beginning of the year or month, in UTC.",
  fits: "date, timestamp and timestamptz",
  sql: ({ to }, masked) => truncated(to, masked),
  text: ({ to }) => `only the ${to}`,
});

const FIRST_DAY = "'0001-01-01'";
const LAST_DAY = "'9999-12-31'";

/**
 * The beginning of the year or month. A timestamptz is truncated in UTC, never in the session's time zone: a user who
 * could change the zone could watch the month change, and so learn the exact moment.
 */
function truncated(to: "year" | "month", { column, type }: Masked): MaskSql {
  switch (type.name) {
    case "date":
    case "timestamp": {
      const value = `(${column})::pg_catalog.timestamp`;
      return typed(column, withinYears(column, type.name, `pg_catalog.date_trunc('${to}', ${value})`), type);
    }
    case "timestamptz": {
      // timezone() in both directions instead of date_trunc's third argument: both calls are immutable in every
      // version.
      const utc = `pg_catalog.timezone('UTC', (${column})::pg_catalog.timestamptz)`;
      const cut = `pg_catalog.timezone('UTC', pg_catalog.date_trunc('${to}', ${utc}))`;
      return typed(column, withinYears(column, type.name, cut), type);
    }
    default:
      return unfit(type, "date, timestamp and timestamptz");
  }
}

/** Dates have a wider range than timestamps: values outside of common years are hidden, because they could fail. */
function withinYears(column: string, name: string, masked: string): string {
  const zone = name === "timestamptz" ? (day: string) => day.replace(/'$/, " UTC'") : (day: string) => day;
  const after = binary(column, ">=", `(${zone(FIRST_DAY)})::pg_catalog.${name}`);
  const before = binary(column, "<=", `(${zone(LAST_DAY)})::pg_catalog.${name}`);
  return `CASE WHEN (${after} AND ${before}) THEN ${masked} END`;
}
