import type { CreateTableAsStmt, ExplainStmt, Node, RefreshMatViewStmt, TruncateStmt } from "libpg-query";
import { relationsNamed } from "../../catalog/catalog.ts";
import { makesTable } from "../../pg/statements.ts";
import type { BoundQuery, BoundStatement, Call } from "../bind/bound.ts";
import { nodeOf } from "../parse/grammar.ts";
import { isOn } from "../parse/options.ts";
import type { RawStatement } from "../parse/parse-text.ts";
import { functionsMeant } from "./calls.ts";
import { costOfCopied } from "./copied-costs.ts";
import { peopleInRow } from "./copied-row.ts";
import type { Given } from "./given.ts";
import { keptByCalls, runsText } from "./kept-by-calls.ts";
import { arePinned, type PinnedConstant, rowNamed } from "./pinned-people.ts";
import { emptiesPaths, peopleTaken } from "./taken-rows.ts";

/** What a statement of a watched role keeps where nobody is counted for reading it. */
export interface Copied {
  /**
   * How many people each row shows that it writes. Zero: what it keeps is counted by the rows that the client gets. Infinity:
   * nothing says how many.
   */
  readonly people: number;
  /** Part of it outlives a rollback. */
  readonly isForGood: boolean;
  /** All rows together show one person. */
  readonly isOfOne?: true;
  /** As how many people each of them counts; 1 if absent. */
  readonly cost?: number;
  /** They are those of one row, which its key names. */
  readonly row?: PinnedConstant;
}

/**
 * What a statement stores elsewhere: whoever reads it there is not counted, so the copy is. The same for rows that it gives to
 * another person, under whose name they are read then. Undefined: it does neither.
 */
export function peopleCopied(
  { node }: RawStatement,
  statement: BoundStatement,
  given: Given,
): Copied | undefined {
  const ran = ranBy(node);
  const [type, body] = ran === undefined ? [] : nodeOf(ran);
  if (ran === undefined || type === undefined || body === undefined) return undefined;
  const made = type === "CreateTableAsStmt" ? (body as CreateTableAsStmt) : undefined;
  if (made?.into?.skipData === true) return undefined;
  // What was prepared under a name is not looked up here, and may have been prepared where nobody could read it.
  if (type === "ExecuteStmt") return OF_ANY;
  if (made?.query !== undefined && nodeOf(made.query)[0] === "ExecuteStmt") return OF_ANY;
  if (type === "TruncateStmt") return emptiesPaths(body as TruncateStmt, given) ? OF_ANY : undefined;
  if (type === "RefreshMatViewStmt") return isRemade(body as RefreshMatViewStmt, given) ? OF_ANY : undefined;
  if (type !== "ViewStmt" && runsText(body)) return OF_ANY;
  const kept = keptByCalls(statement, given);
  const stored = storedBy(statement, { ran, node }, given);
  if (kept === undefined) return stored && { ...stored, isForGood: false };
  const people = kept.inRows && stored === undefined ? 0 : Number.POSITIVE_INFINITY;
  return { people, isForGood: kept.isForGood };
}

const OF_ANY: Copied = { people: Number.POSITIVE_INFINITY, isForGood: false };

/** How many people each row shows that is stored, or is taken from its person. */
function storedBy(
  statement: BoundStatement,
  { ran, node }: { readonly ran: Node; readonly node: Node },
  given: Given,
): Omit<Copied, "isForGood"> | undefined {
  const { top, kind } = statement;
  const [type, body] = nodeOf(ran);
  const writes = statement.queries.filter(({ write }) => write !== undefined);
  const isTable = kind === "create as" || type === "CreateTableAsStmt" || makesTable(body);
  const stored = isTable && top !== undefined ? [...writes, top] : writes;
  const copied = stored.map((query) => peopleInRow(statement, given, query));
  const people = copied.reduce((sum, each) => sum + each.people, 0);
  const taken = peopleTaken(statement, given);
  if ((people === 0 && taken === "nobody") || top === undefined) return undefined;
  const gathers =
    (statement.recursive.size > 0 || statement.queries.some((query) => isGathered(given, query))) &&
    !arePinned(statement, given, top);
  // The tag says how many rows one write of several has stored, and EXPLAIN's says nothing.
  const isToldRows = stored.length === 1 && stored[0] === top && ran === node;
  if (gathers || !isToldRows || taken === "any number") return { people: Number.POSITIVE_INFINITY };
  const row = copied.every(({ isOfOthers }) => !isOfOthers) ? rowNamed(statement, given, top) : undefined;
  const isOfOne = people === 0 && taken === "one person";
  const cost = costOfCopied(statement, given, stored, taken);
  return {
    people: people + (taken === "nobody" ? 0 : 1),
    ...(isOfOne && { isOfOne }),
    ...(cost > 1 && { cost }),
    ...(row && { row }),
  };
}

/**
 * A materialised view counts by its definition. Behind a view that may be another one tomorrow, while the rows stay: so what is
 * filled in then is a copy.
 */
function isRemade({ relation, skipData }: RefreshMatViewStmt, { catalog, sights }: Given): boolean {
  if (skipData === true) return false;
  const meant = relationsNamed(catalog, relation ?? {});
  if (meant.length === 0) return true;
  return meant.some((view) => {
    const sight = sights.of(view);
    const isOfPeople =
      !sight.ok || sight.sight.gathers || sight.sight.columns.some((each) => each.isProtected);
    const below = view.lineage?.dependsOn.map((each) => catalog.relationsByOid.get(each.relation));
    return (
      isOfPeople && (below === undefined || below.some((each) => each === undefined || each.kind === "view"))
    );
  });
}

/** The statement itself; of EXPLAIN the one that it runs, if it does. */
function ranBy(node: Node): Node | undefined {
  const [type, body] = nodeOf(node);
  if (type !== "ExplainStmt") return node;
  const { options = [], query } = body as ExplainStmt;
  return isOn(options, "analyze", false) ? query : undefined;
}

/** A function that the catalog does not have may be an aggregate: a temporary one, or one of this very transaction. */
function isGathered({ catalog }: Given, { aggregates, traits, calls }: BoundQuery): boolean {
  const isUnknown = (call: Call) => call.form === "function" && functionsMeant(catalog, call).length === 0;
  return (
    aggregates.length > 0 ||
    traits.isWindowed ||
    calls.some((call) => call.form === "syntax" || isUnknown(call))
  );
}
