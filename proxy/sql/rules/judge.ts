import { limitsReads } from "../../policy/policy.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { BoundStatement } from "../bind/bound.ts";
import { optionNames } from "../parse/options.ts";
import type { RawStatement } from "../parse/parse-text.ts";
import type { Source } from "../parse/source.ts";
import { copiedActs, repeatedCalls } from "./acting-calls.ts";
import { forbiddenCalls } from "./called-functions.ts";
import { castsApplied, forbiddenCast } from "./casts.ts";
import { forbiddenCopy } from "./copies.ts";
import { forbiddenPlan } from "./explained.ts";
import { Facts } from "./facts.ts";
import { gatheredRows } from "./gathered-rows.ts";
import type { Given } from "./given.ts";
import { lastingCall } from "./lasting-calls.ts";
import { forbiddenNames } from "./named-columns.ts";
import { forbiddenOperator } from "./operators.ts";
import { ownReplacement } from "./own-writes.ts";
import { peoplePerRow } from "./people-shown.ts";
import { forbiddenRelation } from "./relations.ts";
import { replacedOnPath } from "./replaced-rows.ts";
import { returnedItem } from "./returned.ts";
import { unknownSample } from "./samples.ts";
import { formOf, taggedTarget } from "./statement-kinds.ts";
import { markedByStrangers } from "./strangers.ts";
import { forbiddenOnTokens } from "./tokens.ts";
import { forbiddenType } from "./types.ts";
import { unfiltered } from "./unfiltered.ts";
import { lockedByProtected } from "./unprotecting.ts";
import { unwrappable } from "./wrapped.ts";
import { explainedWrite, rowsWritten, untoldWrites } from "./written-rows.ts";

/** The rules' findings about a statement that the role may run, or why it may not. */
export type Judgement =
  | { readonly ok: true; readonly facts: Facts }
  | { readonly ok: false; readonly refusal: Refusal };

/** Judges one bound statement by all rules. */
export function judge(
  source: Source,
  raw: RawStatement,
  statement: BoundStatement,
  scope: Omit<Given, "castFunctions">,
): Judgement {
  const found = factsAbout(source, raw, statement, scope);
  const refusal = found.ok ? first(RULES, (rule) => rule(found.facts)) : undefined;
  return refusal === undefined ? found : { ok: false, refusal };
}

/** The facts about a statement in a form that the role may send. */
export function factsAbout(
  source: Source,
  raw: RawStatement,
  statement: BoundStatement,
  scope: Omit<Given, "castFunctions">,
): Judgement {
  const found = formOf(source, raw, statement, scope);
  if (!found.ok) return found;
  const given = { ...scope, castFunctions: castsApplied(statement, scope).size };
  return { ok: true, facts: new Facts(raw, statement, found.form, given) };
}

export type Rule = (facts: Facts) => Refusal | undefined;

/**
 * Each rule reads the bound statement and ignores the results of the others. Of several refusals, the client gets the
 * first in this order.
 */
export const RULES: readonly Rule[] = [
  ({ statement, given }) => forbiddenRelation(statement, given),
  ({ writes }) => first(writes, ({ forbidden }) => forbidden),
  // What expressions name and run.
  ({ statement, given }) => forbiddenType(statement, given),
  ({ statement, given }) => forbiddenOperator(statement, given),
  ({ calls }) => forbiddenCalls(calls),
  ({ statement, given }) => forbiddenCast(statement, given),
  ({ statement, given, named }) => forbiddenNames(statement, given, named),
  ({ tokens, given, lookups }) => forbiddenOnTokens(tokens, given, lookups),
  // How rows are chosen, stored and shown.
  ({ writes }) => first(writes, ({ telling }) => telling),
  forbiddenSample,
  forbiddenReturned,
  ({ summaries }) =>
    first([...summaries.values()], (found) => (found.kind === "refused" ? found.refusal : undefined)),
  unreadable,
  forbiddenLock,
  ({ statement, given }) => forbiddenCopy(statement, given),
  // The statement as a whole.
  ({ statement, given }) => ownReplacement(statement, given),
  ({ statement, given }) => replacedOnPath(statement, given),
  ({ statement, given, lookups }) => unfiltered(statement, given, lookups),
  ({ statement, given, uses }) => gatheredRows(statement, given, uses),
  ({ statement, given }) => lastingCall(statement, given),
  ({ given, acting, raw }) => repeatedCalls(given, acting, raw.node),
  forbiddenRowsWritten,
  copiedActsOf,
  ({ form, given, telltale }) =>
    form.form === "explain" ? forbiddenPlan(given, form.body, telltale) : undefined,
];

function first<T>(items: readonly T[], ask: (item: T) => Refusal | undefined): Refusal | undefined {
  for (const item of items) {
    const refusal = ask(item);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

/** FOR UPDATE of rows that other people's values choose, or of protected rows. */
function forbiddenLock({ statement, given, named }: Facts): Refusal | undefined {
  return first(statement.queries, (query) =>
    query.write !== undefined
      ? undefined
      : (markedByStrangers(statement, given, query) ?? lockedByProtected(statement, given, named, query)),
  );
}

function forbiddenSample({ uses }: Facts): Refusal | undefined {
  return first(uses, ({ reference: { source } }) =>
    source.kind === "table" && source.sample !== undefined ? unknownSample(source.sample) : undefined,
  );
}

function forbiddenReturned({ statement, given }: Facts): Refusal | undefined {
  return first(statement.queries, (query) =>
    first(query.clauses.returning ?? [], (item) => {
      const found = returnedItem(given, query, item);
      return found?.kind === "refused" ? found.refusal : undefined;
    }),
  );
}

/** A relation must be read through a subquery, but a subquery cannot replace it. */
function unreadable({ statement, given, shown }: Facts): Refusal | undefined {
  return first(statement.queries, ({ form, relations, write }) =>
    // COPY and LOCK take relations unchanged.
    form === "copy" || form === "lock"
      ? undefined
      : first(relations, (each) => (each === write?.target ? undefined : unwrappable(given, shown, each))),
  );
}

/** Writes that the command tag does not report, or reports although they did not happen. */
function forbiddenRowsWritten({ statement, given, form }: Facts): Refusal | undefined {
  const tagged = taggedTarget(form);
  const untold = untoldWrites(statement, given, tagged);
  if (untold !== undefined || form.form !== "explain" || tagged === undefined) return untold;
  return optionNames(form.body.options).includes("analyze")
    ? explainedWrite(given, rowsWritten(given, tagged))
    : undefined;
}

/** COPY … TO of people, under a limit. */
function copiedActsOf({ form, statement, given, acting, uses }: Facts): Refusal | undefined {
  if (form.form !== "copy" || form.body.is_from === true || !limitsReads(given.role)) return undefined;
  if (peoplePerRow(statement, given) === undefined) return undefined;
  const written = uses.flatMap(({ isTarget, key }) => (isTarget ? [key] : []));
  return copiedActs(given, acting, [...new Set(written)]);
}
