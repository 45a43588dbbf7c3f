import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import { loadModule, type Node, parseSync } from "libpg-query";
import type { Catalog, CatalogType, Column, Relation } from "../../proxy/catalog/catalog.ts";
import { NO_STORED_CODE } from "../../proxy/catalog/stored-code.ts";
import type { Policy, TablePolicy } from "../../proxy/policy/policy.ts";
import { isSystemSchema } from "../../proxy/sql/system-relations.ts";

await loadModule();

/**
 * Statements that real clients send, and those of Postgres's regression tests: JSON lines `{source, sql}`. They are
 * outside the repository, next to it or in the folder that SLUICE_CORPUS names.
 */
const FOLDER = process.env.SLUICE_CORPUS ?? resolve("../shared/corpus");

export interface CorpusStatement {
  readonly source: string;
  readonly sql: string;
}

export type CorpusName = "clients" | "regress" | "application";

/** Undefined if the corpus is not there. */
export async function readCorpus(name: CorpusName): Promise<readonly CorpusStatement[] | undefined> {
  const text = await readFile(`${FOLDER}/${name}.jsonl`, "utf8").catch(() => undefined);
  return text
    ?.split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as CorpusStatement);
}

export type StatementGroup = "select" | "write" | "utility" | "definition" | "invalid";

const GROUPS: Readonly<Record<string, StatementGroup>> = {
  SelectStmt: "select",
  InsertStmt: "write",
  UpdateStmt: "write",
  DeleteStmt: "write",
  MergeStmt: "write",
  CopyStmt: "utility",
  ExplainStmt: "utility",
  PrepareStmt: "utility",
  ExecuteStmt: "utility",
  DeallocateStmt: "utility",
  DeclareCursorStmt: "utility",
  FetchStmt: "utility",
  ClosePortalStmt: "utility",
  DiscardStmt: "utility",
  TransactionStmt: "utility",
  VariableSetStmt: "utility",
  VariableShowStmt: "utility",
  LockStmt: "utility",
  ListenStmt: "utility",
  UnlistenStmt: "utility",
  NotifyStmt: "utility",
  ConstraintsSetStmt: "utility",
};

/** The own tests of a driver or an ORM, which send a server what none of its users sends. */
export function isOwnTest(source: string): boolean {
  return /^(postgres\.js|node-postgres)\/|^drizzle\/.*(test|common|batch)/.test(source);
}

/** The kind of statement, by the first statement that is not a plain utility. The parser must be loaded. */
export function groupOf(sql: string): StatementGroup {
  try {
    const groups = (parseSync(sql).stmts ?? []).map(({ stmt }) => {
      const group = GROUPS[Object.keys(stmt ?? {})[0] ?? ""] ?? "definition";
      return group === "select" && "intoClause" in (Object.values(stmt ?? {})[0] ?? {})
        ? "definition"
        : group;
    });
    return groups.find((group) => group !== "utility") ?? "utility";
  } catch {
    return "invalid";
  }
}

const NO_PLACE = { file: "imagined", line: 1, column: 1 };

/**
 * A catalog in which the names of a statement exist, so that its syntax, functions and catalog relations are measured.
 * Each relation that is missing gets every column that the statement names, and `id`; a missing type becomes an enum.
 */
export function imagine(catalog: Catalog, sql: string): Catalog {
  const names = namesIn(sql);
  const relations = new Map(catalog.relations);
  const relationsByOid = new Map(catalog.relationsByOid);
  const relationsByName = new Map(catalog.relationsByName);
  let oid = 1_000_000;
  for (const [schema = "public", name] of names.relations) {
    const known = [...relations.values()].some(
      (relation) =>
        relation.name === name && (relation.schema === schema || relation.schema === "pg_catalog"),
    );
    if (known || isSystemSchema(schema)) continue;
    const relation: Relation = {
      oid: ++oid,
      schema,
      name,
      kind: "table",
      columns: [...new Set(["id", ...names.columns])].map(column),
      primaryKey: ["id"],
      rowKeys: [["id"]],
      indexes: [{ columns: ["id"], unique: true, partial: false }],
      constraints: [],
      foreignKeys: [],
      parents: [],
      isPartition: false,
      hasRules: false,
      rulesOnWrites: false,
      code: NO_STORED_CODE,
    };
    relations.set(`${schema}.${name}`, relation);
    relationsByOid.set(relation.oid, relation);
    relationsByName.set(name, [...(relationsByName.get(name) ?? []), relation]);
  }
  const typesByName = new Map(catalog.typesByName);
  for (const name of names.types) if (!typesByName.has(name)) typesByName.set(name, [enumeration(name)]);
  return { ...catalog, relations, relationsByOid, relationsByName, typesByName, version: `imagined ${sql}` };
}

/**
 * A policy under which imagined relations contain people: their `name`, `email`, `phone` and `password` are protected.
 */
export function imaginePolicy(policy: Policy, catalog: Catalog): Policy {
  const tables = new Map(policy.tables);
  const classOf = new Map([...policy.classes.keys()].map((name) => [name, name]));
  for (const [key, { oid, columns }] of catalog.relations) {
    if (oid <= 1_000_000 || oid >= 2_000_000) continue;
    const held = columns.flatMap(({ name }) => {
      const className = classOf.get(name);
      return className === undefined ? [] : [[name, className] as const];
    });
    const subject = columns.find(({ name }) => OWNER.test(name))?.name ?? "id";
    const table: TablePolicy = {
      name: key,
      subject,
      columns: new Map(held),
      documents: new Map(),
      place: NO_PLACE,
    };
    tables.set(key, table);
  }
  return { ...policy, tables };
}

/** As a DBA would define it: an order or a post is a record of the person it belongs to. */
const OWNER = /^(customer|user|author)_?id$/i;

function column(name: string, index: number): Column {
  return { name, number: index + 1, typeOid: 25, type: "text", notNull: false };
}

function enumeration(name: string): CatalogType {
  const none = { element: 0, base: 0, relation: 0 };
  return { oid: 2_000_001, schema: "public", name, kind: "enum", category: "E", plainInput: true, ...none };
}

interface Names {
  readonly relations: readonly (readonly [schema: string | undefined, name: string])[];
  readonly columns: ReadonlySet<string>;
  readonly types: ReadonlySet<string>;
}

function namesIn(sql: string): Names {
  const relations: (readonly [string | undefined, string])[] = [];
  const columns = new Set<string>();
  const types = new Set<string>();
  const look = (value: unknown): void => {
    if (value === null || typeof value !== "object") return;
    const node = value as {
      schemaname?: string;
      relname?: string;
      ColumnRef?: { fields?: Node[] };
      ResTarget?: { name?: string };
      TypeName?: { names?: Node[] };
      typeName?: { names?: Node[] };
    };
    if (typeof node.relname === "string") relations.push([node.schemaname, node.relname]);
    const field = lastString(node.ColumnRef?.fields);
    if (field !== undefined) columns.add(field);
    if (node.ResTarget?.name !== undefined) columns.add(node.ResTarget.name);
    const type = lastString(node.TypeName?.names ?? node.typeName?.names);
    if (type !== undefined) types.add(type);
    for (const child of Object.values(value)) look(child);
  };
  try {
    look(parseSync(sql));
  } catch {
    // A text that does not parse names nothing.
  }
  return { relations, columns, types };
}

function lastString(nodes: readonly Node[] | undefined): string | undefined {
  const last = nodes?.at(-1) as { String?: { sval?: string } } | undefined;
  return last?.String?.sval;
}
