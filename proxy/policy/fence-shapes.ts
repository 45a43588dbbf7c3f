import type { Fence, FenceStatement } from "./policy.ts";

/*
 * Which statements are the same to a fence: the text without literals, whatever the lengths of its lists. Object mappers ask for
 * as many keys as a page has, and how many people that shows is held otherwise.
 */

const VALUE = String.raw`\$(?:::\w+(?:\[\])?)?`;
const LIST = String.raw`${VALUE}(?:\s*,\s*${VALUE})*`;
const IN_LIST = new RegExp(String.raw`\b(IN\s*\(\s*)${LIST}(\s*\))`, "gi");
const ARRAY_LIST = new RegExp(String.raw`\b(ARRAY\s*\[\s*)${LIST}(\s*\])`, "gi");
const MORE_ROWS = new RegExp(String.raw`\b(VALUES\s*\(\s*${LIST}\s*\))(?:\s*,\s*\(\s*${LIST}\s*\))+`, "gi");
/** A parameter, and not the end of a name. */
const PARAMETER = /(?<![\w$"])\$\d+/g;

/** The text as a fence compares it. */
export function shapeKey(text: string): string {
  return text
    .replace(PARAMETER, () => "$")
    .replace(IN_LIST, (_, open, close) => `${open}$${close}`)
    .replace(ARRAY_LIST, (_, open, close) => `${open}$${close}`)
    .replace(MORE_ROWS, (_, first) => first);
}

/**
 * What is run stands in a literal, so that the shape says nothing of it: DO, bodies of functions, functions that take a text
 * as a query. A text that the log has only the beginning of says nothing of its end.
 */
export function runsLiterals(shape: string): boolean {
  return RUNS_LITERALS.test(shape) || /… \d+ (?:bytes|characters) more$/.test(shape);
}

const RUNS_LITERALS =
  /(?:^|;)\s*(?:do|create\s+(?:or\s+replace\s+)?(?:function|procedure))\b|\b(?:(?:query|cursor|table|schema|database)_to_xml\w*|ts_stat|ts_rewrite|dblink\w*|lo_(?:im|ex)port)"?\s*\(/i;

/** What a fence says of a shape. */
interface Written {
  readonly shape: string;
  readonly people: number;
  readonly tables?: readonly string[] | undefined;
}

/** Shapes that are the same count as one. */
export function fenceStatements(written: readonly Written[]): ReadonlyMap<string, FenceStatement> {
  const statements = new Map<string, FenceStatement>();
  for (const { shape, people, tables } of written) {
    if (runsLiterals(shape)) continue;
    const key = shapeKey(shape);
    const known = statements.get(key);
    statements.set(key, {
      people: Math.max(people, known?.people ?? 0),
      tables: known === undefined ? tables && new Set(tables) : both(known.tables, tables),
    });
  }
  return statements;
}

function both(
  one: ReadonlySet<string> | undefined,
  other: readonly string[] | undefined,
): ReadonlySet<string> | undefined {
  return one === undefined || other === undefined ? undefined : new Set([...one, ...other]);
}

/** Whether a statement with this key, which names these relations, is one that the account has always run. */
export function isKnownStatement(
  { statements }: Pick<Fence, "statements">,
  key: string,
  relations: readonly string[],
): boolean {
  const known = key === "" ? undefined : statements.get(key);
  if (known === undefined) return false;
  return relations.every((each) => known.tables === undefined || known.tables.has(each));
}
