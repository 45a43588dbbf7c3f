import type { Statement } from "../../sql/verdict.ts";
import { refuse } from "../../wire/refusal.ts";
import type { Judged } from "../statement/decision.ts";

/**
 * Columns that are added are at the end of a row, so that one with them is held in memory until its end has come. A
 * longer row (bytes) than this is not, and `repeat()` makes one of a gigabyte.
 */
export const LONGEST_ROW = 64 * 1024 * 1024;

export const ROW_TOO_LONG = refuse("54000", `a row of this result is longer than ${LONGEST_ROW} bytes`, {
  detail: "A row that names its people is held in memory until they are counted.",
  hint: "Send the statement again: from now on its rows pass as they arrive, and their people are counted without names.",
});

/** Of all sessions, by what was found of a text: texts of one shape share it. */
const plain = new WeakSet<readonly Statement[]>();

/** The statement has had a row that was too long to be held. */
export function noteLongRow({ verdict }: Judged): void {
  plain.add(verdict.statements);
}

/** No column must be added to the statement again. */
export function hasLongRows({ verdict }: Pick<Judged, "verdict">): boolean {
  return plain.has(verdict.statements);
}
