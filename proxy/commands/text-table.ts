export { counted, minute, printable } from "../audit/printable.ts";

/** Columns as wide as what stands in them; numbers end where numbers should. */
export function table(rows: readonly (readonly (string | number)[])[]): string {
  const cells = rows.map((row) => row.map(String));
  const columns = rows[0] ?? [];
  const widths = columns.map((_, i) => Math.max(...cells.map((row) => row[i]?.length ?? 0)));
  const isNumber = columns.map((_, i) => rows.slice(1).every((row) => typeof row[i] === "number"));
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => (isNumber[i] ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join("  ");
  return cells.map((row) => `${line(row).trimEnd()}\n`).join("");
}
