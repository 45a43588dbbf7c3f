import type { Catalog, Column, Relation } from "../catalog/catalog.ts";
import type { Policy, SubjectStep, TablePolicy } from "./policy.ts";
import { suggest } from "./problems.ts";

/** One table on the way from a row to its person: `SELECT column FROM schema.name WHERE key = …`. */
export interface SubjectHop {
  readonly relation: Relation;
  readonly key: string;
  readonly column: string;
}

export type ResolvedPath =
  | { readonly ok: true; readonly hops: readonly SubjectHop[] }
  | {
      readonly ok: false;
      readonly message: string;
      readonly hint: string;
      /** The table that does not exist or lacks the column. */
      readonly missing?: string;
    };

/** The parts of `ticket_id -> public.tickets.customer_id`; undefined if the text is no such path. */
export function parseSubject(
  text: string,
): { readonly column: string; readonly steps: readonly SubjectStep[] } | undefined {
  const [column = "", ...rest] = text.split("->").map((part) => part.trim());
  const steps = rest.map((part) => /^([^.*\s]+\.[^.*]+)\.([^.*]+)$/.exec(part));
  if (column === "" || steps.includes(null)) return undefined;
  return { column, steps: steps.map((step) => ({ table: step?.[1] ?? "", column: step?.[2] ?? "" })) };
}

/**
 * The name space under which a table's people are counted and hashed, `public.customers.id`; undefined if its rows
 * belong to no one.
 */
export function namespaceOf({ name, subject, path }: TablePolicy): string | undefined {
  const end = path?.at(-1);
  if (end !== undefined) return `${end.table}.${end.column}`;
  return subject === undefined ? undefined : `${name}.${subject}`;
}

/** The same in a database whose tables are known: foreign keys lead on, as in the verdicts. */
export function namespaceIn(
  table: TablePolicy,
  policy: Pick<Policy, "tables">,
  catalog: Catalog,
): string | undefined {
  const relation = catalog.relations.get(table.name);
  if (relation === undefined || table.subject === undefined) return namespaceOf(table);
  const path = resolvePath(table, relation, policy, catalog);
  return namespaceAt(catalog, relation, table.subject, path.ok ? path.hops : []);
}

/** The name space of the people to whom a column, and the tables on its path, lead. */
export function namespaceAt(
  catalog: Catalog,
  relation: Relation,
  column: string,
  hops: readonly SubjectHop[],
): string {
  const last = hops.at(-1);
  return rootOf(catalog, last?.relation ?? relation, last?.column ?? column);
}

/** The root of a column's foreign key: tickets.customer_id and customers.id name the same people. */
function rootOf(catalog: Catalog, relation: Relation, column: string, seen: readonly number[] = []): string {
  const key = relation.foreignKeys.find(({ columns }) => columns.length === 1 && columns[0] === column);
  const target = key && catalog.relationsByOid.get(key.references);
  const targetColumn = key?.referencedColumns[0];
  if (target === undefined || targetColumn === undefined || seen.includes(target.oid))
    return `${relation.schema}.${relation.name}.${column}`;
  return rootOf(catalog, target, targetColumn, [...seen, relation.oid]);
}

/**
 * Resolves the path from a table's rows to their people in the database. Each column on it must lead to at most one row
 * of the next table, and must be that table's own subject: as a subject it is protected against changes.
 */
export function resolvePath(
  table: TablePolicy,
  start: Relation,
  policy: Pick<Policy, "tables">,
  catalog: Catalog,
): ResolvedPath {
  const hops: SubjectHop[] = [];
  let [from, column] = [start, table.subject ?? ""];
  for (const step of table.path ?? []) {
    const hop = resolveStep(from, column, step, policy, catalog);
    if ("message" in hop) return { ok: false, ...hop };
    hops.push(hop);
    [from, column] = [hop.relation, hop.column];
  }
  return { ok: true, hops };
}

type Fault = Omit<Extract<ResolvedPath, { ok: false }>, "ok">;

function resolveStep(
  from: Relation,
  column: string,
  step: SubjectStep,
  policy: Pick<Policy, "tables">,
  catalog: Catalog,
): SubjectHop | Fault {
  const relation = catalog.relations.get(step.table);
  if (relation === undefined)
    return missing(step, `${step.table}, which is not there`, step.table, catalog.relations.keys());
  const names = relation.columns.map(({ name }) => name);
  if (!names.includes(step.column))
    return missing(step, `"${step.column}", which ${step.table} has not`, step.column, names);
  const key = keyFor(from, column, relation);
  if (key === undefined) {
    return wrong(
      `${column} -> ${step.table}: no column there identifies a single row`,
      `Give ${step.table} a primary key of one column, or ${column} a foreign key to it.`,
    );
  }
  if (
    // If the key itself is the person, all rows that it finds give the same person.
    key !== step.column &&
    [...catalog.relations.values()].some(
      (child) => !child.isPartition && child.parents.includes(relation.oid),
    )
  )
    return wrong(
      `${column} -> ${step.table}: tables inherit from it, and no key holds for them all`,
      "Name the table that has the rows.",
    );
  if (!comparable(catalog, { relation: from, column }, { relation, column: key }))
    return wrong(
      `${column} -> ${step.table}: ${column} and ${key} are not of types that Postgres compares by itself`,
      "Both must be integers, texts, or of one type of Postgres's own.",
    );
  if (policy.tables.get(step.table)?.subject !== step.column)
    return wrong(
      `${column} -> ${step.table}: rows of ${step.table} must be the same person's`,
      `Name it under "tables:", as in ${step.table}: { subject: ${step.column} }.`,
    );
  return { relation, key, column: step.column };
}

/** The column that a foreign key references, or else the primary key. */
function keyFor(from: Relation, column: string, to: Relation): string | undefined {
  const foreign = from.foreignKeys.find(
    ({ columns, references }) => columns.length === 1 && columns[0] === column && references === to.oid,
  );
  const [primary, ...more] = to.primaryKey;
  return foreign?.referencedColumns[0] ?? (more.length === 0 ? primary : undefined);
}

function columnOf(relation: Relation, name: string): Column | undefined {
  return relation.columns.find((column) => column.name === name);
}

const FAMILIES: readonly ReadonlySet<string>[] = [
  new Set(["int2", "int4", "int8"]),
  new Set(["text", "varchar"]),
];

interface ColumnOf {
  readonly relation: Relation;
  readonly column: string;
}

/** Whether `=` of pg_catalog accepts both columns and can use their index. */
export function comparable(catalog: Catalog, left: ColumnOf, right: ColumnOf): boolean {
  const [a, b] = [left, right].map(({ relation, column }) => {
    const typeOid = columnOf(relation, column)?.typeOid;
    let type = typeOid === undefined ? undefined : catalog.typesByOid.get(typeOid);
    while (type?.kind === "domain") type = catalog.typesByOid.get(type.base);
    return type?.schema === "pg_catalog" ? type.name : undefined;
  });
  return a !== undefined && b !== undefined && compareAlike(a, b);
}

/** The same for two types of pg_catalog. */
export function compareAlike(a: string, b: string): boolean {
  if (INCOMPARABLE.has(a)) return false;
  return a === b || FAMILIES.some((family) => family.has(a) && family.has(b));
}

const INCOMPARABLE: ReadonlySet<string> = new Set(["json", "xml", "point", "polygon", "jsonpath"]);

/** Whether each value of the column occurs in at most one row. */
export function isUnique({ indexes, primaryKey }: Relation, column: string): boolean {
  return (
    (primaryKey.length === 1 && primaryKey[0] === column) ||
    indexes.some(
      (index) => index.unique && !index.partial && index.columns.length === 1 && index.columns[0] === column,
    )
  );
}

function missing({ table }: SubjectStep, what: string, name: string, known: Iterable<string>): Fault {
  const hint = suggest(name, known, "Until then the table is closed to all roles but those that see all.");
  return { message: `the subject leads over ${what}`, hint, missing: table };
}

function wrong(message: string, hint: string): Fault {
  return { message: `subject: ${message}`, hint };
}
