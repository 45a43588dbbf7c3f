import { groupBy } from "./group.ts";
import { isNode, parseTree, type TreeNode, type TreeValue, toNumber, visitNodes } from "./node-tree.ts";

/**
 * The code that an expression runs: functions, including those of operators and casts, and the types whose input
 * functions it calls.
 */
export interface Code {
  /** Oids. */
  readonly functions: readonly number[];
  /** Oids: domains, whose conditions are checked, and types that are read from text. */
  readonly types: readonly number[];
}

/** The code that runs when a relation is read or written, in addition to what a statement names. */
export interface StoredCode {
  readonly read: Code;
  readonly write: Code;
}

/** Fields of expression nodes that call a function (Postgres source, primnodes.h, parsenodes.h). */
const FUNCTION_FIELDS = [
  "funcid",
  "opfuncid",
  "elemfuncid",
  "aggfnoid",
  "winfnoid",
  "startInRangeFunc",
  "endInRangeFunc",
];
/** Fields that hold an operator; its function is looked up, because `opfuncid` may be stored as 0. */
const OPERATOR_FIELDS = ["opno", "opnos", "eqop", "sortop"];

/** Nodes that make a value through a type's input function, or check a domain. */
const MAKING: ReadonlySet<string> = new Set(["COERCETODOMAIN", "COERCEVIAIO", "CONVERTROWTYPEEXPR"]);

/** No function has this oid, so it is never considered harmless. */
const UNKNOWN_FUNCTION = 0;

const NO_CODE: Code = { functions: [], types: [] };
export const UNKNOWN_CODE: Code = { functions: [UNKNOWN_FUNCTION], types: [] };
export const NO_STORED_CODE: StoredCode = { read: NO_CODE, write: NO_CODE };

/** The code in a tree. `operatorFunctions`: pg_operator.oprcode by oid. Throws if the tree has an unexpected form. */
export function codeIn(tree: TreeValue, operatorFunctions: ReadonlyMap<number, number>): Code {
  const [functions, types] = [new Set<number>(), new Set<number>()];
  visitNodes(tree, (node: TreeNode) => {
    for (const field of FUNCTION_FIELDS)
      for (const oid of readOids(node.fields.get(field))) functions.add(oid);
    for (const field of OPERATOR_FIELDS)
      for (const oid of readOids(node.fields.get(field)))
        functions.add(operatorFunctions.get(oid) ?? UNKNOWN_FUNCTION);
    if (MAKING.has(node.type)) types.add(toNumber(node.fields.get("resulttype")));
  });
  return { functions: sorted(functions), types: sorted(types) };
}

/** Rows of queries.STORED_CODE. */
export type StoredCodeRow = readonly [relation: number, runs: string, tree: string];

/** By the oid of a relation; relations without code are left out. */
export function readStoredCode(
  rows: readonly StoredCodeRow[],
  operatorFunctions: ReadonlyMap<number, number>,
): ReadonlyMap<number, StoredCode> {
  const byRelation = groupBy(rows, ([relation]) => relation);
  return new Map(
    [...byRelation].map(([relation, own]) => {
      const of = (which: string) =>
        together(own.flatMap(([, runs, tree]) => (runs === which ? [codeOf(tree, operatorFunctions)] : [])));
      return [relation, { read: of("r"), write: of("w") }];
    }),
  );
}

/** Rows of queries.DOMAIN_CODE. */
export type DomainCodeRow = readonly [type: number, tree: string];

/** By the oid of a domain that has conditions. */
export function readDomainCode(
  rows: readonly DomainCodeRow[],
  operatorFunctions: ReadonlyMap<number, number>,
): ReadonlyMap<number, Code> {
  const byDomain = groupBy(rows, ([type]) => type);
  return new Map(
    [...byDomain].map(([type, own]) => [
      type,
      together(own.map(([, tree]) => codeOf(tree, operatorFunctions))),
    ]),
  );
}

/** A tree that cannot be read may run any code. */
function codeOf(tree: string, operatorFunctions: ReadonlyMap<number, number>): Code {
  try {
    return codeIn(parseTree(tree), operatorFunctions);
  } catch {
    return UNKNOWN_CODE;
  }
}

function together(parts: readonly Code[]): Code {
  return {
    functions: sorted(new Set(parts.flatMap(({ functions }) => functions))),
    types: sorted(new Set(parts.flatMap(({ types }) => types))),
  };
}

/** One oid or a list of them, `(o 96 97)`; 0 means none. */
function readOids(value: TreeValue | undefined): readonly number[] {
  if (value === undefined || value === "<>" || isNode(value)) return [];
  const texts = typeof value === "string" ? [value] : value.slice(1);
  return texts.map((text) => toNumber(text)).filter((oid) => oid !== 0);
}

function sorted(oids: ReadonlySet<number>): readonly number[] {
  return [...oids].sort((one, two) => one - two);
}
