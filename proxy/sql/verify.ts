import { isDeepStrictEqual } from "node:util";
import type { SelectStmt } from "libpg-query";
import { LRUCache } from "lru-cache";
import { relationKey } from "../catalog/catalog.ts";
import { treeText } from "../parser/parser.ts";
import type { ExpectedNames } from "./expected-names.ts";
import { forEachNamedRelation, type NamedRelation, namedRelations } from "./named-relations.ts";
import { MAXIMUM_TEXT, parseText } from "./parse.ts";
import { applyInOrder, editedRanges, movedOffsets } from "./rewrite.ts";
import { strayEdit } from "./same-tree.ts";
import type { Scope } from "./scope.ts";
import type { Sights } from "./sight.ts";
import type { Source } from "./source.ts";
import { isOpenSystemRelation, isSystemSchema } from "./system-relations.ts";
import type { MadeEdit } from "./verdict.ts";

/**
 * Reads the rewritten text anew, without the analysis, and gives what is wrong in it, or nothing. Outside of the
 * injected text no guarded relation may be named, and no relation without its schema; and its tree must be the client's,
 * but for the changes that the edits say. `edits` are in their order.
 *
 * The target lists of injected subqueries are the same in every statement, and often longer than the statement:
 * each is read once by itself, and the text without them.
 */
export function faultOf(
  scope: Scope,
  sights: Sights,
  source: Source,
  edits: readonly MadeEdit[],
  expected: ExpectedNames & { readonly tree: string },
): string | undefined {
  const shorter = edits.map(withoutList);
  const tree =
    edits.length === 0 ? expected.tree : treeOf(applyInOrder(source.bytes, shorter).toString("utf8"));
  if (tree === undefined) return "a text that does not parse";
  return (
    leftover(scope, sights, tree, shorter, expected) ??
    (edits.length === 0 ? undefined : strayEdit(expected.tree, tree, shorter))
  );
}

/** The name that should not be there. */
function leftover(
  scope: Scope,
  sights: Sights,
  tree: string,
  shorter: readonly MadeEdit[],
  expected: ExpectedNames,
): string | undefined {
  const ranges = editedRanges(shorter);
  const isInjected = (location: number): boolean =>
    ranges.some(({ start, end }) => location >= start && location < end && end - start > 1);
  const bareNames = movedOffsets(shorter, expected.bareNames);
  const targets = movedOffsets(shorter, expected.targets);
  const judge = ({ schemaname, relname, location }: NamedRelation): string | undefined => {
    if (schemaname === undefined) return bareNames.has(location ?? 0) ? undefined : relname;
    const key = relationKey(schemaname, relname);
    const relation = scope.catalog.relations.get(key);
    if (isSystemSchema(schemaname)) {
      const isShown =
        relation === undefined || sights.ofSystem(relation) === undefined
          ? isOpenSystemRelation(schemaname, relname)
          : isInjected(location ?? 0);
      return isShown ? undefined : key;
    }
    const sight = relation && sights.of(relation);
    if (sight === undefined) return key;
    if (sight.ok && !sight.sight.guarded) return undefined;
    return targets.has(location ?? 0) || isInjected(location ?? 0) ? undefined : key;
  };
  for (const relation of namedRelations(tree)) {
    const wrong = judge(relation);
    if (wrong !== undefined) return wrong;
  }
  return undefined;
}

/** Undefined for a text that does not parse. */
function treeOf(text: string): string | undefined {
  if (Buffer.byteLength(text) > MAXIMUM_TEXT) return undefined;
  try {
    return treeText(text);
  } catch {
    return undefined;
  }
}

const SUBQUERY = "(SELECT ";

/** A subquery without target list parses as one with it, if the list is a list and no more. */
function withoutList(edit: MadeEdit): MadeEdit {
  const { text, list } = edit;
  const isThere = list !== undefined && text.startsWith(list, SUBQUERY.length) && isList(list);
  return isThere ? { ...edit, text: SUBQUERY + text.slice(SUBQUERY.length + list.length) } : edit;
}

const lists = new LRUCache<string, boolean>({ max: 5_000 });

function isList(text: string): boolean {
  let known = lists.get(text);
  if (known === undefined) {
    known = isTargetList(text);
    lists.set(text, known);
  }
  return known;
}

/** Whether `SELECT text FROM x` is what it looks like: a target list that names no relation, and nothing else. */
export function isTargetList(text: string): boolean {
  const blank = " ".repeat(Buffer.byteLength(text));
  const [full, empty] = [text, blank].map((list) => {
    const parsed = parseText(`SELECT ${list} FROM x`);
    const [statement, ...more] = parsed.ok ? parsed.statements : [];
    return statement !== undefined && more.length === 0 && "SelectStmt" in statement.node
      ? (statement.node.SelectStmt as SelectStmt)
      : undefined;
  });
  if (full === undefined || empty === undefined) return false;
  const { targetList, ...rest } = full;
  if (targetList === undefined || !isDeepStrictEqual(rest, empty)) return false;
  let names = 0;
  forEachNamedRelation(targetList, () => names++);
  return names === 0;
}
