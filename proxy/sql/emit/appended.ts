import type { Node } from "libpg-query";
import { quoteIdentifier } from "../../pg/quote.ts";
import type { BoundQuery } from "../bind/bound.ts";
import { purposeOf, purposeSql } from "../purposes.ts";
import type { Appended } from "../rules/metering.ts";
import type { NamedPerson } from "../rules/named-people.ts";
import { sightOf } from "../rules/people.ts";
import { identitySql } from "../subjects.ts";
import type { MadeEdit } from "../verdict.ts";
import { fromKeyword, lastTarget } from "./clauses.ts";
import { groupingOfRows } from "./grouping.ts";
import type { Rewriting } from "./rewriting.ts";
import { placeOf, statementEnd } from "./source-tokens.ts";

/* Columns appended to those that the client gets: they identify the people of its rows. */

/** A column to add to a list: an expression and its name. */
interface Column {
  readonly sql: string;
  readonly name: string;
}

/** After the targets of the statement's query, or after the columns that its write returns. */
export function appendedEdits(
  rewriting: Rewriting,
  query: BoundQuery,
  appended: Appended,
): readonly MadeEdit[] {
  const { source, raw } = rewriting;
  const { targets, returning = [] } = query.clauses;
  const columns = columnsOf(rewriting, appended);
  // RETURNING is the last clause of a write statement.
  if (targets === undefined) return [append(statementEnd(source, raw), returning, columns)];
  const grouping =
    appended.kind === "groups" && appended.groupsRows ? [groupingOfRows(rewriting, query)] : [];
  return [...grouping, append(placeOf(source, fromKeyword(source, targets)), targets, columns)];
}

function append(at: number, items: readonly Node[], columns: readonly Column[]): MadeEdit {
  const text = columns.map(({ sql, name }) => `, ${sql} AS ${quoteIdentifier(name)}`).join("");
  const names = columns.map(({ name }) => name);
  return { at, end: at, text: `${text} `, change: { kind: "items", last: lastTarget(items), names } };
}

function columnsOf(rewriting: Rewriting, appended: Appended): readonly Column[] {
  const identities = appended.people.map((each) => personSql(rewriting, each));
  if (appended.kind === "groups")
    return identities.map((sql) => ({ sql: groupSql(sql, appended), name: "sluice people" }));
  const people = identities.map((sql): Column => ({ sql, name: "sluice subject" }));
  if (!appended.withPurpose) return people;
  return [...people, { sql: purposeOfRow(rewriting, appended.people), name: "sluice purpose" }];
}

function personSql({ given }: Rewriting, { by, subject, exposed, isCounted }: NamedPerson): string {
  const identity = identitySql(given, subject, by.alias, exposed);
  if (identity === undefined) throw new Error("a person who cannot be named");
  return isCounted ? `COALESCE(${identity}, ${NOBODY})` : identity;
}

/** A different identity in each row. */
const NOBODY = "('left out ' OPERATOR(pg_catalog.||) pg_catalog.gen_random_uuid()::pg_catalog.text)";

/** If a row has more people than this, they are not listed: the row is charged by its size. */
const NAMED_IN_A_ROW = 1_000;

function groupSql(identity: string, { tell, keepsOrder }: Extract<Appended, { kind: "groups" }>): string {
  const told = keepsOrder ? afterGathering(identity) : listOf(identity);
  return `(${tell === "number" ? `pg_catalog.count(DISTINCT ${identity})` : told})::pg_catalog.text`;
}

function listOf(identity: string): string {
  return `pg_catalog.array_to_json((pg_catalog.array_agg(DISTINCT ${identity}))[1:${NAMED_IN_A_ROW + 1}])`;
}

/**
 * For an aggregate with DISTINCT the server sorts a group's rows before all of its aggregates (from 16 on:
 * make_pathkeys_for_groupagg of optimizer/plan/planner.c), and does not hash the groups (GROUPING_CAN_USE_HASH there). The
 * client's own aggregates would get the rows in another order. So the identities are gathered as they come, and made
 * distinct once the group is complete.
 */
function afterGathering(identity: string): string {
  const each = '"sluice each"';
  return `(SELECT ${listOf(each)} FROM pg_catalog.unnest(pg_catalog.array_agg(${identity})) AS ${each}(${each}))`;
}

/** Whether the user has work with all people of the row. */
function purposeOfRow({ given }: Rewriting, people: readonly NamedPerson[]): string {
  const tests = people.map(({ reference, by, subject, exposed }) => {
    const sight = sightOf(given.sights, reference);
    const purpose = sight && purposeOf(given, sight, by.alias);
    if (purpose === undefined) throw new Error("a person without a connection to the user");
    return purposeSql(given, purpose, subject, by.alias, exposed);
  });
  return `(CASE WHEN ${tests.join(" AND ")} THEN 't' ELSE 'f' END)::pg_catalog.text`;
}
