import { forEachObject } from "./tree.ts";
import { valueEnd } from "./tree-text.ts";

/** A relation as a parse tree names it. */
export interface NamedRelation {
  readonly schemaname?: string;
  readonly relname: string;
  readonly location?: number;
}

/** Tells of each relation that is named anywhere in a tree, in the order of its fields. */
export function forEachNamedRelation(tree: object, found: (named: NamedRelation) => void): void {
  if ("relname" in tree && typeof tree.relname === "string") found(tree as NamedRelation);
  forEachObject(tree, (field, object) => {
    // Nothing stands in a constant, and what looks into one judges by its value.
    if (field !== "A_Const") forEachNamedRelation(object, found);
  });
}

/** No string of JSON holds this, as its quotes would have backslashes; the key is RangeVar's alone. */
const NAME = '"relname":"';
/** A RangeVar (pg_query.proto) up to its name. */
const UP_TO_NAME = /^\{(?:"catalogname":"(?:[^"\\]|\\.)*",)?(?:"schemaname":"(?:[^"\\]|\\.)*",)?"relname":"$/;
/** Names have at most 63 bytes, and a character of JSON takes six at most. */
const LONGEST_UP_TO_NAME = 1_000;

/** The same of a tree as JSON, without reading the rest of it. Throws where it is not as it should be. */
export function namedRelations(json: string): readonly NamedRelation[] {
  const found: NamedRelation[] = [];
  for (let at = json.indexOf(NAME); at !== -1; at = json.indexOf(NAME, at + 1)) {
    const start = startOfObject(json, at + NAME.length);
    found.push(JSON.parse(json.slice(start, valueEnd(json, start))) as NamedRelation);
  }
  return found;
}

/** Where the object begins of the relation whose location ends at `end`. */
export function relationStart(json: string, end: number): number {
  return startOfObject(json, json.lastIndexOf(NAME, end) + NAME.length);
}

function startOfObject(json: string, end: number): number {
  // Names may hold braces as well.
  for (let start = end; start > 0 && start > end - LONGEST_UP_TO_NAME; ) {
    start = json.lastIndexOf("{", start - 1);
    if (UP_TO_NAME.test(json.slice(start, end))) return start;
  }
  throw new Error("a relation is named in a way that is not known");
}
