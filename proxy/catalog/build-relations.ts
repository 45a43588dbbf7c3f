import type { Column, ForeignKey, Index, Relation, RelationKind, ViewLineage } from "./catalog.ts";
import { type ColumnsByNumber, type ConstraintRow, caseFolded, toConstraints } from "./constraints.ts";
import { groupBy } from "./group.ts";
import { NO_STORED_CODE, type StoredCode, type StoredCodeRow } from "./stored-code.ts";

/** Rows of the queries of the same names. A view without its stored query has an empty text. */
export interface RelationRows {
  readonly relations: readonly (readonly [
    oid: number,
    schema: number,
    name: string,
    kind: string,
    isPartition: boolean,
    hasRules: boolean,
    rulesOnWrites: boolean,
  ])[];
  readonly columns: readonly (readonly [
    relation: number,
    number: number,
    name: string,
    typeOid: number,
    type: string,
    notNull: boolean,
    collation: string | null,
  ])[];
  readonly indexes: readonly (readonly [
    relation: number,
    key: string,
    keyColumns: number,
    unique: boolean,
    primary: boolean,
    partial: boolean,
    immediate: boolean,
  ])[];
  readonly constraints: readonly ConstraintRow[];
  readonly defaults: readonly (readonly [relation: number, number: number, kind: string])[];
  readonly generated: readonly (readonly [
    relation: number,
    number: number,
    from: readonly number[],
    expression: string,
  ])[];
  readonly foreignKeys: readonly (readonly [
    relation: number,
    columns: readonly number[],
    references: number,
    referencedColumns: readonly number[],
    unsure: boolean,
    changedByUpdate: boolean,
    changedByDelete: boolean,
    deletedByDelete: boolean,
  ])[];
  readonly storedCode: readonly StoredCodeRow[];
  readonly parents: readonly (readonly [relation: number, parent: number])[];
  readonly views: readonly (readonly [view: number, action: string])[];
  readonly viewDependencies: readonly (readonly [view: number, relation: number, column: number])[];
}

/** pg_class.relkind. */
const KINDS: ReadonlyMap<string, RelationKind> = new Map([
  ["r", "table"],
  ["p", "partitioned"],
  ["v", "view"],
  ["m", "materialized view"],
  ["f", "foreign table"],
  ["S", "sequence"],
]);

/**
 * Relations with everything that belongs to them. Relations in a schema whose name contains a dot are left out, because
 * their keys could be those of others: a statement that names them is refused, like one that names an unknown relation.
 */
export function buildRelations(
  rows: RelationRows,
  schemas: ReadonlyMap<number, string>,
  lineages: ReadonlyMap<number, ViewLineage>,
  equalities: ReadonlySet<number>,
  code: ReadonlyMap<number, StoredCode>,
): readonly Relation[] {
  const columnRows = groupBy(rows.columns, ([relation]) => relation);
  const generated = groupBy(rows.generated, ([relation]) => relation);
  const defaults = groupBy(rows.defaults, ([relation]) => relation);
  const columns = new Map(
    [...columnRows].map(([relation, own]) => [
      relation,
      toColumns(own, generated.get(relation) ?? [], defaults.get(relation) ?? []),
    ]),
  );
  const constraints = groupBy(rows.constraints, ([relation]) => relation);
  const indexes = groupBy(rows.indexes, ([relation]) => relation);
  const foreignKeys = groupBy(rows.foreignKeys, ([relation]) => relation);
  const parents = groupBy(rows.parents, ([relation]) => relation);
  return rows.relations.flatMap(
    ([oid, schemaOid, name, relkind, isPartition, hasRules, rulesOnWrites]): readonly Relation[] => {
      const kind = KINDS.get(relkind);
      const schema = schemas.get(schemaOid);
      if (kind === undefined || schema === undefined || schema.includes(".")) return [];
      const own = columns.get(oid) ?? NO_COLUMNS;
      const lineage = lineages.get(oid);
      const indexRows = indexes.get(oid) ?? [];
      return [
        {
          oid,
          schema,
          name,
          kind,
          columns: [...own.values()],
          primaryKey: primaryKey(indexRows, own),
          ...(isDeferrable(indexRows) && { isKeyDeferrable: true as const }),
          rowKeys: rowKeys(indexRows, own),
          indexes: indexRows.map((row) => toIndex(row, own)),
          constraints: toConstraints(constraints.get(oid) ?? [], own, equalities),
          foreignKeys: (foreignKeys.get(oid) ?? []).map(
            ([
              ,
              from,
              references,
              to,
              unsure,
              changedByUpdate,
              changedByDelete,
              deletedByDelete,
            ]): ForeignKey => ({
              columns: named(from, own),
              references,
              referencedColumns: named(to, columns.get(references) ?? NO_COLUMNS),
              ...(unsure && { unsure }),
              ...(changedByUpdate && { changedByUpdate }),
              ...(changedByDelete && { changedByDelete }),
              ...(deletedByDelete && { deletedByDelete }),
            }),
          ),
          parents: (parents.get(oid) ?? []).map(([, parent]) => parent),
          isPartition,
          hasRules,
          rulesOnWrites,
          code: code.get(oid) ?? NO_STORED_CODE,
          ...(lineage !== undefined && { lineage }),
        },
      ];
    },
  );
}

const NO_COLUMNS: ColumnsByNumber = new Map();

/** Kinds of pg_attrdef, as the query classifies them. */
const DEFAULT_KINDS: ReadonlyMap<string, Column["default"]> = new Map([
  ["k", "constant"],
  ["e", "empty document"],
  ["f", "fresh"],
  ["c", "code"],
]);

function toColumns(
  rows: RelationRows["columns"],
  generated: RelationRows["generated"],
  defaults: RelationRows["defaults"],
): ColumnsByNumber {
  const sources = new Map(generated.map(([, number, from, expression]) => [number, { from, expression }]));
  const kinds = new Map(defaults.map(([, number, kind]) => [number, DEFAULT_KINDS.get(kind) ?? "code"]));
  return new Map(
    rows.map(([, number, name, typeOid, type, notNull, collation]) => {
      const made = sources.get(number);
      const caseOf = made && caseFolded(made.expression);
      const filled = kinds.get(number);
      return [
        number,
        {
          name,
          number,
          typeOid,
          type,
          notNull,
          ...(collation !== null && { collation }),
          ...(made && { generatedFrom: made.from }),
          ...(caseOf !== undefined && { caseOf }),
          ...(filled && { default: filled }),
        },
      ];
    }),
  );
}

type IndexRow = RelationRows["indexes"][number];

function toIndex(row: IndexRow, columns: ColumnsByNumber): Index {
  const key = keyColumns(row);
  // An expression has the number 0.
  const end = key.indexOf(0);
  const isPlain = end === -1;
  return {
    columns: named(isPlain ? key : key.slice(0, end), columns),
    unique: row[3] && isPlain,
    partial: row[5],
  };
}

function primaryKey(rows: readonly IndexRow[], columns: ColumnsByNumber): readonly string[] {
  const row = rows.find(([, , , , primary]) => primary);
  return row === undefined ? [] : named(keyColumns(row), columns);
}

function isDeferrable(rows: readonly IndexRow[]): boolean {
  return rows.some(([, , , , primary, , immediate]) => primary && !immediate);
}

function rowKeys(rows: readonly IndexRow[], columns: ColumnsByNumber): readonly (readonly string[])[] {
  return rows
    .filter(([, , , , , , immediate]) => immediate)
    .map((row) => toIndex(row, columns))
    .flatMap((index) => (index.unique && !index.partial ? [index.columns] : []));
}

/** `indkey` without the columns that are only INCLUDEd. */
function keyColumns([, key, count]: IndexRow): readonly number[] {
  return key.split(" ", count).map(Number);
}

function named(numbers: readonly number[], columns: ColumnsByNumber): readonly string[] {
  return numbers.flatMap((number) => columns.get(number)?.name ?? []);
}
