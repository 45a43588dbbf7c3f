import { forEachObject } from "./tree.ts";
import { valueEnd } from "./tree-text.ts";

/** A relation as a parse tree names it. */
export interface NamedRelation {
  readonly schemaname?: string;
  readonly relname: string;
  readonly location?: number;
}

/** Calls `found` for each relation that is named anywhere in a tree, in the order of its fields. */
export function forEachNamedRelation(tree: object, found: (named: NamedRelation) => void): void {
  if ("relname" in tree && typeof tree.relname === "string") found(tree as NamedRelation);
  forEachObject(tree, (field, object) => {
    // A constant names no relation, and looking into one would make the verdict depend on its value.
    if (field !== "A_Const") forEachNamedRelation(object, found);
  });
}

/** Whether a relation that is named anywhere in a tree is such a one. */
export function someNamedRelation(tree: object, is: (named: NamedRelation) => boolean): boolean {
  let found = false;
  forEachNamedRelation(tree, (named) => {
    found ||= is(named);
  });
  return found;
}

/** No JSON string contains this, because its quotes would be escaped; the key belongs only to RangeVar. */
const NAME = '"relname":"';
/** A RangeVar (pg_query.proto) up to its name. */
const UP_TO_NAME = /^\{(?:"catalogname":"(?:[^"\\]|\\.)*",)?(?:"schemaname":"(?:[^"\\]|\\.)*",)?"relname":"$/;
/** Names have at most 63 bytes, and a character takes at most six in JSON. */
const LONGEST_UP_TO_NAME = 1_000;

/** The same for a tree as JSON, without decoding the rest of it. Throws if the JSON is not as expected. */
export function namedRelations(json: string): readonly NamedRelation[] {
  const found: NamedRelation[] = [];
  for (let at = json.indexOf(NAME); at !== -1; at = json.indexOf(NAME, at + 1)) {
    const start = startOfObject(json, at + NAME.length);
    found.push(JSON.parse(json.slice(start, valueEnd(json, start))) as NamedRelation);
  }
  return found;
}

/** The start of the relation object whose location ends at `end`. */
export function relationStart(json: string, end: number): number {
  return startOfObject(json, json.lastIndexOf(NAME, end) + NAME.length);
}

function startOfObject(json: string, end: number): number {
  // Names may contain braces too.
  for (let start = end; start > 0 && start > end - LONGEST_UP_TO_NAME; ) {
    start = json.lastIndexOf("{", start - 1);
    if (UP_TO_NAME.test(json.slice(start, end))) return start;
  }
  throw new Error("a relation is named in a way that is not known");
}
