import { ANY_ROWS } from "../../sql/rules/row-names.ts";
import { isAscii } from "../../sql/tokens/token-text.ts";
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

/** The row that a portal's parameters name. What is not plain ASCII depends on the client's encoding. */
export function rowOf(pinned: PinnedPeople | undefined): string | undefined {
  const [identity = ""] = pinned?.identities ?? [];
  return pinned && isAscii(identity) ? `${pinned.namespaces[0]}\0${identity}` : undefined;
}

/**
 * Keys that rows have got in the transaction that is open. It may give them back to other rows when it is rolled back: whoever is
 * shown a row by such a key has not been shown the other one.
 */
export class KeysGiven {
  readonly #namespaces = new Set<string>();

  /** These statements were sent. */
  sent(statements: readonly Statement[]): void {
    for (const { touch } of statements) for (const each of touch?.keys ?? NONE) this.#namespaces.add(each);
  }

  /** No transaction is open. */
  ended(): void {
    this.#namespaces.clear();
  }

  mayHave(row: string): boolean {
    if (this.#namespaces.size === 0) return false;
    return this.#namespaces.has(ANY_ROWS) || this.#namespaces.has(row.slice(0, row.indexOf("\0")));
  }
}

const NONE: readonly string[] = [];

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
