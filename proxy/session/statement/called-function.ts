import type { Catalog, CatalogFunction } from "../../catalog/catalog.ts";
import { quoteIdentifier } from "../../pg/quote.ts";
import { readsItsArgumentsOnly } from "../../sql/reads-more.ts";
import type { Scope } from "../../sql/scope.ts";
import { RUNS_TEXT } from "../../sql/unnamed-code.ts";
import type { Statement, Verdict } from "../../sql/verdict.ts";
import { BY_SIZE } from "../../sql/watched-text.ts";
import { type Frame, MalformedMessage } from "../../wire/frames.ts";
import type { Judged } from "./decision.ts";

/*
 * Calls of the function call protocol (Postgres docs, 53.2.5). Drivers use it for large objects, and it calls any function,
 * also one that runs a text or reads a table. It is treated as a statement of its own: fenced, charged, put on record.
 */

/** A catalog's function and one that it does not have are each called in one way. */
const known = new WeakMap<CatalogFunction, Called>();

interface Called {
  readonly text: Buffer;
  readonly verdict: Verdict;
}

/** What a FunctionCall message asks for, as a statement: `CALL "schema"."function"()`, without arguments. */
export function calledFunction(frame: Frame, scope: Scope): Judged {
  const { text, verdict } = calledIn(frame, scope.catalog);
  return { text, verdict, scope };
}

function calledIn({ buffer, start, end }: Frame, { functionsByOid }: Catalog): Called {
  // Type, length word, the function's oid (53.7 "FunctionCall").
  const at = start + 5;
  if (end < at + 4) throw new MalformedMessage("FunctionCall", "insufficient data left in message");
  const oid = buffer.readUInt32BE(at);
  const called = functionsByOid.get(oid);
  if (called === undefined) return callOf(quoteIdentifier(String(oid)), false, false);
  let found = known.get(called);
  if (found === undefined) {
    const name = `${quoteIdentifier(called.schema)}.${quoteIdentifier(called.name)}`;
    const runsText = called.schema === "pg_catalog" && RUNS_TEXT.has(called.name);
    found = callOf(name, readsItsArgumentsOnly(called), runsText);
    known.set(called, found);
  }
  return found;
}

/** `runsText`: a text that may keep what it reads. */
function callOf(name: string, isPlain: boolean, runsText: boolean): Called {
  const statement: Statement = {
    command: "CALL",
    kind: "other",
    reads: [],
    writes: [],
    masked: [],
    lookups: 0,
    limited: false,
    ...(!isPlain && { ...BY_SIZE, readsMore: true }),
    ...(runsText && { copies: Number.POSITIVE_INFINITY }),
    touch: { session: true, defines: !isPlain, bareNames: [] },
  };
  return { text: Buffer.from(`CALL ${name}()`), verdict: { kind: "pass", statements: [statement] } };
}
