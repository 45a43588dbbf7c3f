/**
 * What an edit of the text changes in the parse tree: verification looks for the change at exactly this node, and
 * requires the rest of the tree to be unchanged. A node is identified by its byte offset in the client's text.
 */
export type Change =
  /** The relation named there gets its schema, or is replaced by a subquery (of it, or of its sample). */
  | { readonly kind: "relation"; readonly location: number; readonly sample?: true }
  /** The qualifier of the column reference is added or removed. */
  | { readonly kind: "column"; readonly location: number }
  /** The function called there gets its schema. */
  | { readonly kind: "call"; readonly location: number; readonly schema: string }
  /** The only argument of the function called there becomes NULL, of its own type. */
  | { readonly kind: "argument"; readonly location: number }
  /** The call of the aggregate of this name there is replaced by a cast subquery whose column has this name. */
  | { readonly kind: "summary"; readonly location: number; readonly name: string }
  /** The condition whose operator is there has moved elsewhere; true is left in its place. */
  | { readonly kind: "condition"; readonly location: number }
  /** Items of these names are appended to the list whose last item begins there. */
  | { readonly kind: "items"; readonly last: number; readonly names: readonly string[] }
  /** The item that is a column reference is replaced by other items. */
  | { readonly kind: "item"; readonly location: number; readonly column: number }
  /** The value of the assignment that begins there is compared with the row's present value. */
  | { readonly kind: "kept"; readonly location: number }
  /**
   * The query whose last target begins there gets a condition in HAVING, which guards its own condition if it has one.
   */
  | { readonly kind: "having"; readonly last: number }
  /** The query whose last target begins there gets OFFSET 0. */
  | { readonly kind: "fence"; readonly last: number }
  /** The query whose last target begins there is grouped by additional columns. */
  | { readonly kind: "grouping"; readonly last: number }
  /** The query whose last target begins there had no GROUP BY and gets one. */
  | { readonly kind: "groups"; readonly last: number }
  /** The write whose target is named there gets a condition in WHERE, before its own condition if it has one. */
  | { readonly kind: "filter"; readonly location: number }
  /** `TABLE x` is written out. */
  | { readonly kind: "star" }
  /** The statement with this index (from 0) gets a LIMIT. */
  | { readonly kind: "limit"; readonly statement: number }
  /** COPY of the relation named there becomes COPY of a query. */
  | { readonly kind: "copied relation"; readonly location: number }
  /**
   * The query that the statement copies becomes a subquery of a query with a limit: the text before it, and after it.
   */
  | { readonly kind: "copied query"; readonly statement: number; readonly side: "before" | "behind" }
  /** The statement's EXPLAIN options change. */
  | { readonly kind: "explain options"; readonly statement: number };
