import { isDeepStrictEqual } from "node:util";
import type { SelectStmt } from "libpg-query";
import { LRUCache } from "lru-cache";
import { relationKey } from "../../catalog/catalog.ts";
import { applyInOrder, editedRanges, movedOffsets } from "../emit/rewrite.ts";
import { forEachNamedRelation, type NamedRelation, namedRelations } from "../parse/named-relations.ts";
import { type NotParsed, parseText, treeOf } from "../parse/parse-text.ts";
import type { Source } from "../parse/source.ts";
import type { Scope } from "../scope.ts";
import type { Sights } from "../sight.ts";
import { isOpenSystemRelation, isSystemSchema } from "../system-relations.ts";
import type { MadeEdit } from "../verdict.ts";
import type { ExpectedNames } from "./expected-names.ts";
import { strayEdit } from "./same-tree.ts";

/**
 * Parses the rewritten text again, independently of the analysis, and returns what is wrong with it, if anything; or
 * that it has become longer or deeper than what can be parsed, which is not a fault. Outside the injected text no
 * guarded relation may be named, and no relation without its schema. Its tree must be the client's, except for the
 * changes that the edits declare. `edits` must be in order.
 *
 * The target lists of injected subqueries are the same in every statement, and often longer than the statement: each is
 * checked once on its own, and the text without them.
 */
export function faultOf(
  scope: Scope,
  sights: Sights,
  source: Source,
  edits: readonly MadeEdit[],
  expected: ExpectedNames & { readonly tree: string },
): string | NotParsed | undefined {
  if (edits.length === 0) return leftover(scope, sights, expected.tree, edits, expected);
  const shorter = edits.map(withoutList);
  const read = treeOf(applyInOrder(source.bytes, shorter).toString("utf8"));
  if (!read.ok) return read.refusal.sqlstate === "42601" ? "a text that does not parse" : read;
  return (
    leftover(scope, sights, read.tree, shorter, expected) ?? strayEdit(expected.tree, read.tree, shorter)
  );
}

/** The first name that should not be there. */
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

const SUBQUERY = "(SELECT ";

/** A subquery without target list parses like one with it, if the list is a list and nothing else. */
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
