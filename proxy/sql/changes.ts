/**
 * What an edit of the text changes in the parse tree: verification looks for the change at this very node, and finds
 * the rest of the tree as it was. Nodes are named by the byte offset of theirs in the client's text.
 */
export type Change =
  /** The relation named there gets its schema, or a subquery (of it, or of its sample) stands for it. */
  | { readonly kind: "relation"; readonly location: number; readonly sample?: true }
  /** The column reference gets or loses what stands before the dot. */
  | { readonly kind: "column"; readonly location: number }
  /** The function called there gets its schema. */
  | { readonly kind: "call"; readonly location: number; readonly schema: string }
  /** The only argument of the function called there becomes NULL, of its own type. */
  | { readonly kind: "argument"; readonly location: number }
  /** A cast subquery whose column has this name stands for the call of the aggregate of this name there. */
  | { readonly kind: "summary"; readonly location: number; readonly name: string }
  /** The condition whose text begins there has moved away; true is left. */
  | { readonly kind: "condition"; readonly location: number }
  /** The list whose last item begins there is longer by items of these names. */
  | { readonly kind: "items"; readonly last: number; readonly names: readonly string[] }
  /** Other items stand for the one that is a column reference. */
  | { readonly kind: "item"; readonly location: number; readonly column: number }
  /** The value of the assignment that begins there is compared with what the row has. */
  | { readonly kind: "kept"; readonly location: number }
  /** The query whose last target begins there gets a condition in HAVING, on which its own is asked if it has one. */
  | { readonly kind: "having"; readonly last: number }
  /** The query whose last target begins there gets OFFSET 0. */
  | { readonly kind: "fence"; readonly last: number }
  /** The query whose last target begins there is grouped by more columns. */
  | { readonly kind: "grouping"; readonly last: number }
  /** The query whose last target begins there, and which had no GROUP BY, gets one. */
  | { readonly kind: "groups"; readonly last: number }
  /** The write whose target is named there gets a condition in WHERE, before its own if it has one. */
  | { readonly kind: "filter"; readonly location: number }
  /** `TABLE x` is spelt out. */
  | { readonly kind: "star" }
  /** The statement, counted from 0, gets a LIMIT. */
  | { readonly kind: "limit"; readonly statement: number }
  /** COPY of the relation named there becomes COPY of a query. */
  | { readonly kind: "copied relation"; readonly location: number }
  /** The query that the statement copies becomes a subquery of one with a limit: what comes before it, and behind. */
  | { readonly kind: "copied query"; readonly statement: number; readonly side: "before" | "behind" }
  /** The statement's options of EXPLAIN are others. */
  | { readonly kind: "explain options"; readonly statement: number };
