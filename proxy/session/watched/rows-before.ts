import type { Statement } from "../../sql/verdict.ts";
import type { Judged } from "../statement/decision.ts";
import { type PinnedPeople, pinnedByText } from "../statement/pinned.ts";

/*
 * Whoever was shown a row was charged for its person. So they may save or delete it, by its key, as often as they like: an ORM
 * writes all columns of a row, also the one that names its person.
 */

/** The row that a text names: see `Statement.row`. */
export function rowInText({ text, verdict }: Judged, { row }: Statement): string | undefined {
  if (row === undefined || verdict.kind === "refuse") return undefined;
  return rowOf(pinnedByText([row], text, verdict.places ?? []));
}

/** The row that a portal's parameters name. */
export function rowOf(pinned: PinnedPeople | undefined): string | undefined {
  return pinned && `${pinned.namespaces[0]}\0${pinned.identities[0]}`;
}

const paid = new WeakMap<Statement, Statement>();

/** The same statement, of a row whose person was charged before. */
export function ofPaidRow(statement: Statement): Statement {
  const { copies, copiesOne: _, uncounted: __, ...rest } = statement;
  if (copies === undefined || rest.row === undefined || rest.isForGood) return statement;
  const known = paid.get(statement);
  if (known !== undefined) return known;
  const { metering } = rest;
  const isUncounted = metering !== undefined && (metering.unknown > 0 || metering.price?.bySize === true);
  const made: Statement = { ...rest, ...(isUncounted && { uncounted: true }) };
  paid.set(statement, made);
  return made;
}
