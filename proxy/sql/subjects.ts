import { relationKey } from "../catalog/catalog.ts";
import { quoteIdentifier, quoteLiteral, quoteQualified } from "../pg/quote.ts";
import type { SubjectHop } from "../policy/subject-path.ts";
import type { Scope } from "./scope.ts";

/** The column that identifies the person of a row, and the tables between it and the person. */
export interface Subject {
  readonly column: string;
  readonly namespace: string;
  /** Absent if the column itself identifies the person. */
  readonly hops?: readonly SubjectHop[];
}

/** Our aliases start with this. A client's alias that starts with it too would be captured inside the lookup. */
const OURS = "sluice ";

/**
 * The person's identity as text. `exposed` is the name of the row's own column. If the path leads to no person (the row
 * is gone or hidden, or the user may not read the table), the row's own key is used in their place: one key belongs to
 * one person, so there are never fewer distinct keys than people behind them.
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
  if (!isIdentified(subject, alias)) return undefined;
  const person = personSql(scope, subject, alias, exposed);
  const stranger = `${quoteLiteral(`${subject.column} `)} OPERATOR(pg_catalog.||) (${column})::pg_catalog.text`;
  return person === undefined ? `(${stranger})` : `COALESCE((${person})::pg_catalog.text, ${stranger})`;
}

/** The person's identity; NULL if they are not found; undefined if this user cannot look for them. */
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
  if (!canBeNamed(scope, subject, alias)) return undefined;
  const from = (hop: SubjectHop, at: number) =>
    `${quoteQualified(hop.relation.schema, hop.relation.name)} AS ${name(at)}`;
  const joins = more.map(
    (hop, i) =>
      ` JOIN ${from(hop, i + 1)} ON ${field(i + 1, hop.key)} OPERATOR(pg_catalog.=) ${field(i, hops[i]?.column ?? "")}`,
  );
  const person = field(hops.length - 1, hops.at(-1)?.column ?? "");
  // A deferred unique index may contain two equal rows for a while. Two rows would be an error, and either of them will
  // do.
  return `(SELECT ${person} FROM ${from(first, 0)}${joins.join("")} WHERE ${field(0, first.key)} OPERATOR(pg_catalog.=) ${column} LIMIT 1)`;
}

/** Whether a row can identify its person, given the alias of its reference. */
export function isIdentified({ hops = [] }: Subject, alias: string): boolean {
  return hops.length === 0 || !alias.startsWith(OURS);
}

/** Whether the user may read the path to the person, starting from a reference with that alias. */
export function canBeNamed(scope: Pick<Scope, "unreadable">, { hops = [] }: Subject, alias: string): boolean {
  return !alias.startsWith(OURS) && hops.every((hop) => isReadable(scope, hop));
}

function name(at: number): string {
  return quoteIdentifier(`${OURS}${at + 1}`);
}

function field(at: number, column: string): string {
  return `${name(at)}.${quoteIdentifier(column)}`;
}

function isReadable(
  { unreadable }: Pick<Scope, "unreadable">,
  { relation, key, column }: SubjectHop,
): boolean {
  const table = relationKey(relation.schema, relation.name);
  return [key, column].every((each) => !unreadable.has(`${table}.${each}`));
}
