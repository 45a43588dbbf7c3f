import type { ColumnRef, Node } from "libpg-query";
import type { Relation } from "../catalog/catalog.ts";
import { nodeOf, stringOf } from "./parse/grammar.ts";

/* The names that a condition's FROM clauses expose, and what a column reference may mean by them. */

/** A row matters only to those rows of the condition's own table whose column `own` equals the row's `column`. */
export interface Tie {
  readonly own: string;
  readonly column: string;
}

/** One name that a FROM clause exposes. */
export interface Item {
  readonly name: string;
  /** Its schema, if the table may be referred to by it. */
  readonly schema: string | undefined;
  /** Empty for a subquery, whose own columns have been read. Several for a join with an alias. */
  readonly parts: readonly Read[];
  /** An alias gives the columns other names. */
  readonly renamed: boolean;
}

export interface Read {
  readonly relation: Relation;
  readonly columns: Set<string>;
  readonly opensByInsert: boolean;
  readonly opensByDelete: boolean;
  tie: Tie | undefined;
}

export interface Names {
  readonly items: readonly Item[];
  readonly outer: Names | undefined;
}

/** If `column` is undefined, the whole row. */
export interface Meant {
  readonly item: Item;
  readonly column: string | undefined;
}

/** What a name may mean, innermost level first; a table that certainly has the column ends the search. */
export function columnsMeant(names: Names, { fields = [] }: ColumnRef): readonly Meant[] {
  const last = fields.at(-1);
  const isStar = last !== undefined && nodeOf(last)[0] === "A_Star";
  const column = isStar || last === undefined ? undefined : stringOf(last);
  const [qualifier, schema] = [fields.at(-2), fields.at(-3)].map((field) => field && stringOf(field));
  if (qualifier !== undefined) return itemsNamed(names, qualifier, schema).map((item) => ({ item, column }));
  if (column === undefined) return names.items.map((item) => ({ item, column }));
  const found: Meant[] = [];
  for (let at: Names | undefined = names; at !== undefined; at = at.outer) {
    const here = at.items.map((item) => ({ item, column, has: mayHave(item, column) }));
    found.push(...here.filter(({ has }) => has !== "no"));
    if (here.some(({ has }) => has === "yes")) return found;
  }
  // A table's name alone means its whole row.
  return [...found, ...itemsNamed(names, column, undefined).map((item) => ({ item, column: undefined }))];
}

function itemsNamed(names: Names, name: string, schema: string | undefined): readonly Item[] {
  for (let at: Names | undefined = names; at !== undefined; at = at.outer) {
    const here = at.items.filter(
      (item) => item.name === name && (schema === undefined || item.schema === schema),
    );
    if (here.length > 0) return here;
  }
  return [];
}

export function mayHave({ parts, renamed }: Item, column: string): "yes" | "no" | "perhaps" {
  if (renamed || parts.length === 0) return "perhaps";
  return parts.some(({ relation }) => hasColumn(relation, column)) ? "yes" : "no";
}

function hasColumn({ columns }: Relation, name: string): boolean {
  return columns.some((column) => column.name === name);
}

/**
 * Anything that is not a column of that name (a system column, a renamed column) may be computed from the whole row.
 */
export function mark({ item: { parts, renamed }, column }: Meant): void {
  const having =
    renamed || column === undefined ? [] : parts.filter(({ relation }) => hasColumn(relation, column));
  for (const { relation, columns } of having.length > 0 ? having : parts) {
    if (having.length > 0 && column !== undefined) columns.add(column);
    else for (const { name } of relation.columns) columns.add(name);
  }
}

/** The column that an expression consists of; undefined if it is anything else. */
export function onlyColumn(
  names: Names,
  node: Node,
): { readonly read: Read; readonly column: string } | undefined {
  const [type, body] = nodeOf(node);
  const [meant, ...more] = type === "ColumnRef" ? columnsMeant(names, body as ColumnRef) : [];
  if (meant?.column === undefined || more.length > 0 || meant.item.renamed) return undefined;
  const [read, ...others] = meant.item.parts;
  if (read === undefined || others.length > 0 || !hasColumn(read.relation, meant.column)) return undefined;
  return { read, column: meant.column };
}
