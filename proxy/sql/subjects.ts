import { relationKey } from "../catalog/catalog.ts";
import type { SubjectHop } from "../policy/subject-path.ts";
import type { Scope } from "./scope.ts";
import { quoteIdentifier, quoteLiteral, quoteQualified } from "./source.ts";

/** The column that tells who a row is about, and the tables that lie between it and the person. */
export interface Subject {
  readonly column: string;
  readonly namespace: string;
  /** Left out where the column itself names the person. */
  readonly hops?: readonly SubjectHop[];
}

/** Aliases of ours begin so; a client's own of that beginning would be caught inside the look-up. */
const OURS = "sluice ";

/**
 * The person's identity as text, given what the row's own column is called. At the end of a path where nobody
 * can be found (the row is gone or hidden, the user may not read the table) the row's own key stands for him:
 * one key is one person's, so distinct keys are never fewer than the people behind them.
 */
export function identitySql(
  scope: Scope,
  subject: Subject,
  alias: string,
  exposed: string,
): string | undefined {
  const column = `${quoteIdentifier(alias)}.${quoteIdentifier(exposed)}`;
  const { hops = [] } = subject;
  if (hops.length === 0) return `(${column})::pg_catalog.text`;
  const person = personSql(scope, subject, alias, exposed);
  const stranger = `${quoteLiteral(`${subject.column} `)} OPERATOR(pg_catalog.||) (${column})::pg_catalog.text`;
  if (alias.startsWith(OURS)) return undefined;
  return person === undefined ? `(${stranger})` : `COALESCE((${person})::pg_catalog.text, ${stranger})`;
}

/** The person himself, NULL where he cannot be found; undefined where this user cannot look for him. */
export function personSql(
  scope: Scope,
  subject: Subject,
  alias: string,
  exposed: string,
): string | undefined {
  const column = `${quoteIdentifier(alias)}.${quoteIdentifier(exposed)}`;
  const { hops = [] } = subject;
  const [first, ...more] = hops;
  if (first === undefined) return column;
  if (alias.startsWith(OURS) || !hops.every((hop) => isReadable(scope, hop))) return undefined;
  const from = (hop: SubjectHop, at: number) =>
    `${quoteQualified(hop.relation.schema, hop.relation.name)} AS ${name(at)}`;
  const joins = more.map(
    (hop, i) =>
      ` JOIN ${from(hop, i + 1)} ON ${field(i + 1, hop.key)} OPERATOR(pg_catalog.=) ${field(i, hops[i]?.column ?? "")}`,
  );
  const person = field(hops.length - 1, hops.at(-1)?.column ?? "");
  // A deferred unique index may hold two rows for a while: two would be an error, and one of them will do.
  return `(SELECT ${person} FROM ${from(first, 0)}${joins.join("")} WHERE ${field(0, first.key)} OPERATOR(pg_catalog.=) ${column} LIMIT 1)`;
}

function name(at: number): string {
  return quoteIdentifier(`${OURS}${at + 1}`);
}

function field(at: number, column: string): string {
  return `${name(at)}.${quoteIdentifier(column)}`;
}

function isReadable({ unreadable }: Scope, { relation, key, column }: SubjectHop): boolean {
  const table = relationKey(relation.schema, relation.name);
  return [key, column].every((each) => !unreadable.has(`${table}.${each}`));
}
