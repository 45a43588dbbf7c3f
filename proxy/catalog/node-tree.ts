/**
 * The text form of Postgres's own trees (type pg_node_tree), as pg_rewrite.ev_action holds a view's query. Postgres
 * source: src/backend/nodes/outfuncs.c writes it, read.c reads it. `{TYPE :field value …}` is a node, `(…)` a list,
 * anything else a token.
 */
export interface TreeNode {
  readonly type: string;
  /** The first value of each field; a few fields have more (`:constvalue 4 [ 1 0 0 0 ]`), which are not needed here. */
  readonly fields: ReadonlyMap<string, TreeValue>;
}

export type TreeValue = string | TreeNode | readonly TreeValue[];

/** The text does not follow the rules above. */
export class UnreadableTree extends Error {}

/** Parses the whole text. Throws UnreadableTree. */
export function parseTree(text: string): TreeValue {
  const reader = new TokenReader(text);
  const value = readValue(reader);
  if (reader.token !== undefined) throw new UnreadableTree("text after the end");
  return value;
}

/** Visits a value and everything within it: nodes only, outer ones first. */
export function visitNodes(value: TreeValue, visit: (node: TreeNode) => void): void {
  const waiting: TreeValue[] = [value];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (typeof next === "string") continue;
    if (isNode(next)) visit(next);
    waiting.push(...(isNode(next) ? next.fields.values() : next));
  }
}

export function isNode(value: TreeValue | undefined): value is TreeNode {
  return typeof value === "object" && "fields" in value;
}

/** Throws UnreadableTree if the value is not a number. */
export function toNumber(value: TreeValue | undefined): number {
  if (typeof value !== "string" || !/^-?\d{1,10}$/.test(value)) throw new UnreadableTree("not a number");
  return Number(value);
}

/**
 * pg_strtok() of read.c: brackets are tokens of their own, a backslash removes the next character's special meaning.
 */
class TokenReader {
  /** The current token as written, backslashes included; undefined at the end. */
  token: string | undefined;
  readonly #text: string;
  readonly #pattern = /[(){}]|(?:\\[\s\S]|[^\\(){} \n\t])+/y;
  readonly #blank = /[ \n\t]*/y;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
    this.next();
  }

  next(): void {
    this.#blank.lastIndex = this.#at;
    this.#blank.exec(this.#text);
    this.#pattern.lastIndex = this.#blank.lastIndex;
    const match = this.#pattern.exec(this.#text);
    this.token = match?.[0];
    this.#at = match === null ? this.#text.length : this.#pattern.lastIndex;
  }
}

function readValue(reader: TokenReader): TreeValue {
  const { token } = reader;
  if (token === undefined || token === ")" || token === "}") throw new UnreadableTree("a value is missing");
  reader.next();
  if (token === "(") return readList(reader);
  if (token === "{") return readNode(reader);
  return token.replace(/\\([\s\S])/g, "$1");
}

function readList(reader: TokenReader): readonly TreeValue[] {
  const values: TreeValue[] = [];
  while (reader.token !== ")") values.push(readValue(reader));
  reader.next();
  return values;
}

/** RTEKind of Postgres (nodes/parsenodes.h): the same in 13 to 18; RTE_GROUP since 18. */
export const RTE = { relation: "0", subquery: "1", join: "2", cte: "6", result: "8", group: "9" } as const;

/** Types to which older servers give another name. */
const RENAMED: ReadonlyMap<string, string> = new Map([
  // Postgres 13 and 14.
  ["RTE", "RANGETBLENTRY"],
]);

function readNode(reader: TokenReader): TreeNode {
  const written = readValue(reader);
  if (typeof written !== "string") throw new UnreadableTree("a node without a type");
  const type = RENAMED.get(written) ?? written;
  const fields = new Map<string, TreeValue>();
  while (reader.token !== "}") {
    if (!reader.token?.startsWith(":")) throw new UnreadableTree(`a field's name is missing in ${type}`);
    const name = reader.token.slice(1);
    if (fields.has(name)) throw new UnreadableTree(`${type}.${name} appears twice`);
    reader.next();
    // The token after a field's name is its value, whatever it looks like: a column may be named ":resjunk".
    fields.set(name, readValue(reader));
    while (reader.token !== "}" && !reader.token?.startsWith(":")) readValue(reader);
  }
  reader.next();
  return { type, fields };
}
