import { type Shape, shapeOf } from "../../tokens/json-documents.ts";
import { type PathStep, pathText } from "../../tokens/json-path.ts";
import type { Storage } from "../../tokens/sealed.ts";

/** A column of tokens, or the values at one path of a column's documents. */
export interface ValueColumn extends Storage {
  /** `schema.table.column` of the table, and a path, for messages. */
  readonly name: string;
  readonly className: string;
  /** Its type can hold any token. */
  readonly fits: boolean;
}

/** A json or jsonb column with tokens inside of its documents, or a part of such documents. */
export interface DocumentColumn {
  readonly form: "document";
  /** `schema.table.column`, and the way to the part. */
  readonly name: string;
  /** Documents that share it have tokens of the same columns at the same places. */
  readonly associated: string;
  readonly shape: Shape<ValueColumn>;
  /** The column has a type that holds documents. */
  readonly fits: boolean;
}

/** The column that values at a path of a table's documents are. */
export type LeafAt = (path: string, className: string) => ValueColumn;

export function documentColumn(
  name: string,
  fits: boolean,
  paths: readonly { readonly steps: readonly PathStep[]; readonly className: string }[],
  leafAt: LeafAt,
): DocumentColumn {
  const leaves = paths.map(({ steps, className }) => ({ steps, leaf: leafAt(pathText(steps), className) }));
  return { form: "document", name, associated: `document ${name}`, shape: shapeOf(leaves), fits };
}

/** One step into a document: a key, the place in an array, or a text that may be either. */
export type Step = { readonly key: string } | { readonly index: true } | { readonly either: string };

/** What is there: a part that holds tokens, "elsewhere" if none is at or below this place, undefined if that is not known. */
export function partAt(
  document: DocumentColumn,
  steps: readonly Step[],
): DocumentColumn | "elsewhere" | undefined {
  let { shape, associated, name } = document;
  for (const step of steps) {
    // There is nothing below a string.
    const keyed = "index" in step ? undefined : shape.keys.get("key" in step ? step.key : step.either);
    const inArray = isPlace(step) ? shape.each : undefined;
    if (keyed !== undefined && inArray !== undefined) return undefined;
    const next = keyed ?? inArray;
    if (next === undefined) return shape.leaf === undefined ? "elsewhere" : undefined;
    const way = pathText([
      keyed === undefined ? null : "key" in step ? step.key : (step as { either: string }).either,
    ]);
    shape = next;
    associated = next.leaf === undefined ? `${associated} ${way}` : `json of ${next.leaf.associated}`;
    name = `${name} ${way}`;
  }
  return { ...document, shape, associated, name };
}

function isPlace(step: Step): boolean {
  return "index" in step || ("either" in step && /^\s*[-+]?\d+\s*$/.test(step.either));
}

/** Whether what an assignment makes on its way, where nothing is, has the form that leads to the values. */
export function leadsOn(document: DocumentColumn, steps: readonly Step[]): boolean {
  return steps.every((step, index) => {
    const part = partAt(document, steps.slice(0, index));
    if (part === undefined || part === "elsewhere") return true;
    const { leaf, each, keys } = part.shape;
    return leaf !== undefined || (isPlace(step) ? each !== undefined : keys.size > 0);
  });
}

/** The columns of the values that a column holds: itself, or those inside of its documents. */
export function valuesOf(column: ValueColumn | DocumentColumn): readonly ValueColumn[] {
  return column.form === "document" ? leavesOf(column) : [column];
}

/** The columns of all values inside. */
export function leavesOf({ shape }: Pick<DocumentColumn, "shape">): readonly ValueColumn[] {
  const { leaf, keys, each } = shape;
  const below = [...keys.values(), ...(each === undefined ? [] : [each])];
  return [...(leaf === undefined ? [] : [leaf]), ...below.flatMap((part) => leavesOf({ shape: part }))];
}
