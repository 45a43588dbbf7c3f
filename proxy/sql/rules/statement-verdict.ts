import type { CopyStmt, DeclareCursorStmt, InsertStmt, Node } from "libpg-query";
import { commandTag, isHeld } from "../../pg/statements.ts";
import type { BoundQuery } from "../bind/bound.ts";
import { nodeOf } from "../parse/grammar.ts";
import { isSystemSchema } from "../system-relations.ts";
import type { BoundAsk, Effect, Metering, Statement, StatementKind } from "../verdict.ts";
import { settingChanged } from "./called-functions.ts";
import { hasHeader } from "./copies.ts";
import type { Facts } from "./facts.ts";
import { maskNotices } from "./mask-notices.ts";
import {
  type Appended,
  type Metered,
  meterCopy,
  meterCopyIn,
  meterCursor,
  meterPlan,
  meterSelect,
  meterWrite,
} from "./metering.ts";
import { ownCalls } from "./people-shown.ts";
import type { Bill } from "./prices.ts";
import { isOfData } from "./relations.ts";
import { taggedTarget } from "./statement-kinds.ts";
import { revealedClasses } from "./tokens.ts";
import { rowsWritten } from "./written-rows.ts";

/* What a verdict says about a statement that the role may run. */

/** Converts a metering to the form in verdicts, with positions of constants replaced by their numbers. */
export type Numbered = (metered: Metered) => Metering;

/** A statement, and the columns that make its rows identify their people. */
export interface Told {
  readonly statement: Statement;
  readonly appended: Appended | undefined;
}

export function tell(facts: Facts, numbered: Numbered): Told {
  const { form } = facts;
  switch (form.form) {
    case "query":
      return tellQuery(facts, form.query, facts.raw.node, numbered);
    case "prepare": {
      const { statement: inner, appended } = tellQuery(facts, form.query, form.body.query, numbered);
      const effect: Effect = { kind: "prepare", name: form.body.name ?? "", inner };
      return { statement: around(facts, "session", { effect }), appended };
    }
    case "declare":
      return tellCursor(facts, form.query, form.body, numbered);
    case "explain": {
      const { changes: _, ...inner } = ofQuery(facts, form.query, facts.raw.node, undefined);
      const metering = numbered(meterPlan(billOf(facts)));
      return plain({ ...inner, kind: "explain", limited: false, metering });
    }
    case "explain execute": {
      const effect: Effect = { kind: "explainExecute", name: form.body.name ?? "" };
      return plain(finished(facts, facts.raw.node, "explain", { effect }));
    }
    case "copy":
      return plain(tellCopy(facts, form.body, numbered));
    case "utility": {
      const { kind, effect } = form.utility;
      return plain(finished(facts, facts.raw.node, kind, { effect }));
    }
  }
}

function plain(statement: Statement): Told {
  return { statement, appended: undefined };
}

/** `node`: the node that the query is bound from. */
function tellQuery(facts: Facts, query: BoundQuery, node: Node | undefined, numbered: Numbered): Told {
  const bill = billOf(facts);
  const { metering, appended } =
    query.write === undefined ? meterSelect(bill, query) : meterWrite(bill, query);
  return { statement: ofQuery(facts, query, node, metering && numbered(metering)), appended };
}

/** Rows of a cursor are counted when they are fetched. */
function tellCursor(facts: Facts, query: BoundQuery, body: DeclareCursorStmt, numbered: Numbered): Told {
  const { statement: inner, appended } = tellQuery(facts, query, body.query, numbered);
  const hold = isHeld(body);
  const effect: Effect = { kind: "declare", name: body.portalname ?? "", hold, inner };
  const metered = meterCursor(inner.metering, hold);
  const metering = metered && numbered(metered);
  return { statement: around(facts, "cursor", { effect, metering }), appended };
}

/** A statement that returns no rows by itself. */
function around(facts: Facts, kind: StatementKind, said: Said): Statement {
  return { ...finished(facts, facts.raw.node, kind, said), limited: false };
}

function tellCopy(facts: Facts, { options, is_from }: CopyStmt, numbered: Numbered): Statement {
  const isFrom = is_from === true;
  const bill = billOf(facts);
  const metered = isFrom ? meterCopyIn(bill) : meterCopy(bill);
  const effect: Effect = isFrom ? { kind: "copyIn" } : { kind: "copyOut", header: hasHeader(options ?? []) };
  const kind = isFrom ? "copyIn" : "copyOut";
  const said = { effect, metering: metered && numbered(metered) };
  return { ...finished(facts, facts.raw.node, kind, said), ...changesOf(facts) };
}

function ofQuery(
  facts: Facts,
  query: BoundQuery,
  node: Node | undefined,
  metering: Metering | undefined,
): Statement {
  const isWrite = query.write !== undefined;
  const changed = isWrite ? undefined : settingChanged(facts.calls);
  const effect: Effect | undefined =
    changed === undefined ? undefined : { kind: "set", parameter: changed, local: false };
  const kind = facts.uses.some(({ isTarget }) => isTarget) ? "write" : "read";
  const isSilent = isWrite && (query.node as InsertStmt).returningClause === undefined;
  return {
    ...finished(facts, node, kind, { effect, metering }),
    ...changesOf(facts),
    ...(isSilent && { silent: true }),
  };
}

function changesOf({ form, given }: Facts): Pick<Statement, "changes"> {
  const tagged = taggedTarget(form);
  return tagged === undefined ? {} : { changes: rowsWritten(given, tagged) };
}

interface Said {
  readonly effect?: Effect | undefined;
  readonly metering?: Metering | undefined;
}

function finished(
  facts: Facts,
  node: Node | undefined,
  kind: StatementKind,
  { effect, metering }: Said,
): Statement {
  const { statement, given, form, uses, exposure, acting, writes } = facts;
  const { masked, revealed } = exposure;
  const { lookups, asks } = lookedUp(facts);
  const reveals = revealedClasses(facts.tokens, given);
  const notices = maskNotices(statement, given, facts.lookups);
  const isPlan = form.form === "explain" || form.form === "explain execute";
  const [kept] = writes.flatMap((write) => write.kept);
  const keys = (isTarget: boolean) => [
    ...new Set(
      uses.flatMap((use) =>
        use.isTarget === isTarget && !isSystemSchema(use.relation.schema) ? [use.key] : [],
      ),
    ),
  ];
  return {
    command: commandTag(...nodeOf(node ?? {})),
    ...{ kind, reads: keys(false), writes: keys(true), masked, revealed, lookups },
    ...(reveals.length > 0 && { reveals }),
    ...(asks.length > 0 && { asks }),
    ...(!isPlan && facts.telltale.length > 0 && { hidesPlan: true }),
    ...(kept !== undefined && { keeps: kept.kept.refusal }),
    ...(notices.length > 0 && { notices }),
    limited: uses.some(isOfData) || ownCalls(statement, given) > 0,
    // A column that no relation of the catalog has: it may have been added since.
    ...(statement.problems.some(({ sqlstate }) => sqlstate === "42703") && { namesUnknown: true }),
    ...(acting.length > 0 && { acts: true }),
    ...(metering !== undefined && { metering: costed(facts, metering) }),
    ...(effect !== undefined && { effect }),
  };
}

function costed({ exposure: { cost } }: Facts, metering: Metering): Metering {
  return cost === 1 ? metering : { ...metering, cost };
}

function billOf(facts: Facts): Bill {
  const { statement, given, exposure, acting, writes } = facts;
  const { namesProtected, cost } = exposure;
  const { lookups } = lookedUp(facts);
  const storesProtected = writes.some((write) => write.storesProtected);
  const told = { lookups, namesProtected, storesProtected, cost, actingCalls: acting.length };
  return { statement, given, told };
}

/** The number of exact lookups, and the lookups that depend on the values of parameters. */
function lookedUp({ lookups, writes }: Facts): {
  readonly lookups: number;
  readonly asks: readonly BoundAsk[];
} {
  const exact = lookups.flatMap(({ searches }) =>
    searches.flatMap(({ comparison }) => comparison.exact ?? []),
  );
  const tried = exact.reduce((sum, { tries }) => sum + tries, 0);
  return {
    lookups: writes.reduce((sum, write) => sum + write.lookups, tried),
    asks: exact.flatMap(({ asks }) => asks),
  };
}
