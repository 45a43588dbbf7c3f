import { isDeepStrictEqual } from "node:util";
import type { ColumnRef } from "libpg-query";
import type { Change } from "../emit/text-changes.ts";
import { relationStart } from "../parse/named-relations.ts";
import {
  fieldAt,
  isMade,
  type LocatedTree,
  statementNode,
  stringText,
  type TreeReader,
  valueEnd,
} from "../parse/tree-text.ts";
import { argumentSteps, summarySteps } from "./call-steps.ts";
import { fenceStep, filterSteps, groupingStep, groupsStep, havingSteps, listEnds } from "./clause-steps.ts";
import { keptSteps } from "./kept-steps.ts";
import { insertion, type Step } from "./step.ts";

/**
 * Where a change appears in the client's tree. All nodes that an edit inserts have the location `made` in the rewritten
 * tree. The same node may occur several times in a tree (`SET (a, b) = (SELECT …)`).
 */
export function stepsOf(tree: LocatedTree, change: Change, made: number): readonly Step[] {
  const { json } = tree;
  switch (change.kind) {
    case "relation":
      return relations(tree, change.location).map((found) =>
        relationStep(json, found, made, change.sample === true),
      );
    case "column":
      return columnSteps(tree, change.location);
    case "argument":
      return argumentSteps(tree, change.location, made);
    case "summary":
      return summarySteps(tree, change.location, change.name, made);
    case "condition":
      return conditionSteps(tree, change.location, made);
    case "items":
      return listEnds(tree, change.last).map((at) => insertion(at, itemsReader(change.names, made)));
    case "item":
      return itemSteps(tree, change.location, change.column, made);
    case "kept":
      return keptSteps(tree, change.location, made);
    case "having":
      return listEnds(tree, change.last).flatMap((at) => havingSteps(json, at + 1, made));
    case "grouping":
      return listEnds(tree, change.last).map((at) => groupingStep(json, at + 1, made));
    case "groups":
      return listEnds(tree, change.last).map((at) => groupsStep(json, at + 1, made));
    case "fence":
      return listEnds(tree, change.last).map((at) => fenceStep(json, at + 1, made));
    case "filter":
      return relations(tree, change.location).flatMap(({ end }) => filterSteps(json, end, made));
    case "limit":
      return [limitStep(json, change.statement, made)];
    case "copied relation":
      return relations(tree, change.location).map((found) => copiedRelationStep(json, found, made));
    case "copied query":
      return [copiedQueryStep(json, change.statement, change.side, made)];
    case "explain options":
      return [explainStep(json, change.statement, made)];
    case "call":
    case "star":
      // Only the locations of their nodes can be checked.
      return [];
  }
}

/** The location at which a change is searched for. */
export function locationOf(change: Change): number | undefined {
  if ("location" in change) return change.kind === "item" ? change.column : change.location;
  return "last" in change ? change.last : undefined;
}

interface Span {
  readonly start: number;
  readonly end: number;
}

/** A relation's location is its last field, and nothing else begins at the same position. */
function relations(tree: LocatedTree, location: number): readonly Span[] {
  return tree.placesOf(location, "}").map((at) => {
    const end = tree.json.indexOf("}", at) + 1;
    return { start: relationStart(tree.json, end), end };
  });
}

const WRAPPER = '{"RangeVar":';
const SAMPLE = '{"RangeTableSample":{"relation":';

function relationStep(json: string, { start, end }: Span, made: number, isSampled: boolean): Step {
  const name = json.slice(start, end);
  const isWrapped = json.startsWith(WRAPPER, start - WRAPPER.length);
  const outer = start - (isWrapped ? WRAPPER.length : 0) - (isSampled ? SAMPLE.length : 0);
  return {
    start: outer,
    end: isSampled ? valueEnd(json, outer) : end + (isWrapped ? 1 : 0),
    take: (rewritten) =>
      takeSubquery(rewritten, name, made) || takeQualified(rewritten, name, isWrapped, made),
  };
}

const NAME = '"relname":';
/** Before the name there is only a schema. */
const SCHEMA = /^\{"schemaname":"(?:[^"\\]|\\.)*",$/;

function takeQualified(rewritten: TreeReader, name: string, isWrapped: boolean, made: number): boolean {
  if (isWrapped && !rewritten.expect(WRAPPER)) return false;
  const own = name.slice(name.indexOf(NAME), name.lastIndexOf('"location":'));
  const other = rewritten.value();
  const at = other.indexOf(NAME);
  const isSame = SCHEMA.test(other.slice(0, at)) && other.slice(at) === `${own}"location":${made}}`;
  return isSame && (!isWrapped || rewritten.expect("}"));
}

const SUBQUERY = '{"RangeSubselect":{"subquery":{"SelectStmt":';

/** The alias is the last field: the client's own, or otherwise the relation's name. */
function takeSubquery(rewritten: TreeReader, name: string, made: number): boolean {
  const [from, to] = [name.indexOf('"alias":'), name.lastIndexOf(',"location":')];
  const relname = name.slice(name.indexOf(NAME) + NAME.length, name.indexOf(',"', name.indexOf(NAME)));
  const alias = from < 0 ? `"alias":{"aliasname":${relname}}` : name.slice(from, to);
  const other = rewritten.startingWith(SUBQUERY, `,${alias}}}`);
  return other !== undefined && isMade(other, made);
}

const FIELDS = '{"fields":[';

/** The column gets or loses a qualifier; it begins at the same position as before. */
function columnSteps(tree: LocatedTree, location: number): readonly Step[] {
  const { json } = tree;
  return tree.placesOf(location, "}").flatMap((at) => {
    const [start, end] = [json.lastIndexOf(FIELDS, at), json.indexOf("}", at) + 1];
    if (start < 0 || valueEnd(json, start) !== end) return [];
    const own = JSON.parse(json.slice(start, end)) as ColumnRef;
    const take = (rewritten: TreeReader): boolean => {
      const other = JSON.parse(rewritten.value()) as ColumnRef;
      const [mine, theirs] = [own.fields ?? [], other.fields ?? []];
      const kept = Math.min(mine.length, theirs.length);
      return (
        other.location === location &&
        kept > 0 &&
        isDeepStrictEqual(mine.slice(-kept), theirs.slice(-kept)) &&
        theirs.length - mine.length <= 1
      );
    };
    return [{ start, end, take }];
  });
}

const CONDITION = '{"A_Expr":{"kind":';

function conditionSteps(tree: LocatedTree, location: number, made: number): readonly Step[] {
  const { json } = tree;
  const starts = tree.placesOf(location, "}}").map((at) => {
    // Of the expressions that begin before it, the innermost that ends after it.
    let start = json.lastIndexOf(CONDITION, at);
    while (start >= 0 && valueEnd(json, start) < at) start = json.lastIndexOf(CONDITION, start - 1);
    if (start < 0) throw new Error("a condition is not where the tree has it");
    return start;
  });
  // The call that ESCAPE becomes has the location of its LIKE, which is also the condition's.
  return [...new Set(starts)].map((start) => ({
    start,
    end: valueEnd(json, start),
    take: (rewritten) => rewritten.expect(`{"A_Const":{"boolval":{"boolval":true},"location":${made}}}`),
  }));
}

function itemsReader(names: readonly string[], made: number): Step["take"] {
  return (rewritten) =>
    names.every(
      (name) =>
        rewritten.expect(`,{"ResTarget":{"name":${stringText(name)},"val":`) &&
        rewritten.made(made) &&
        rewritten.expect(`,"location":${made}}}`),
    );
}

const ITEM = '{"ResTarget":{';

function itemSteps(tree: LocatedTree, location: number, column: number, made: number): readonly Step[] {
  const more = `}},"location":${location}}}`;
  return tree.placesOf(column, more).map((at) => ({
    start: tree.json.lastIndexOf(ITEM, at),
    end: tree.json.indexOf(more, at) + more.length,
    take: (rewritten) => {
      if (!rewritten.made(made)) return false;
      while (rewritten.also(made));
      return true;
    },
  }));
}

/** The start of the first field of the statement's node, if the node has this type. */
function firstField(json: string, statement: number, type: string): number {
  const [node, head] = [statementNode(json, statement), `{"${type}":{`];
  if (!json.startsWith(head, node)) throw new Error("a statement of another type than the tree has");
  return node + head.length;
}

function limitStep(json: string, statement: number, made: number): Step {
  let field = fieldAt(json, firstField(json, statement, "SelectStmt"));
  while (field !== undefined && field.key !== "limitOption") field = fieldAt(json, field.end);
  if (field === undefined) throw new Error("a query without a kind of limit");
  return {
    start: field.start,
    end: field.end,
    take: (rewritten) =>
      rewritten.expect('"limitCount":') &&
      rewritten.made(made) &&
      rewritten.expect(',"limitOption":"LIMIT_OPTION_COUNT"'),
  };
}

function copiedRelationStep(json: string, { start, end }: Span, made: number): Step {
  const key = '"relation":';
  if (!json.startsWith(key, start - key.length)) throw new Error("COPY of something else");
  const columns = fieldAt(json, end);
  return {
    start: start - key.length,
    end: columns?.key === "attlist" ? columns.end : end,
    take: (rewritten) => rewritten.expect('"query":') && rewritten.made(made),
  };
}

function copiedQueryStep(json: string, statement: number, side: "before" | "behind", made: number): Step {
  const field = fieldAt(json, firstField(json, statement, "CopyStmt"));
  if (field?.key !== "query") throw new Error("COPY of something else");
  const star = `{"ResTarget":{"val":{"ColumnRef":{"fields":[{"A_Star":{}}],"location":${made}}},"location":${made}}}`;
  if (side === "before") {
    const head = `{"SelectStmt":{"targetList":[${star}],"fromClause":[{"RangeSubselect":{"subquery":`;
    return insertion(field.value, (rewritten) => rewritten.expect(head));
  }
  return insertion(
    field.end,
    (rewritten) =>
      rewritten.expect(',"alias":{"aliasname":"sluice"}}}],"limitCount":') &&
      rewritten.made(made) &&
      rewritten.expect(',"limitOption":"LIMIT_OPTION_COUNT","op":"SETOP_NONE"}}'),
  );
}

function explainStep(json: string, statement: number, made: number): Step {
  const query = fieldAt(json, firstField(json, statement, "ExplainStmt"));
  if (query?.key !== "query") throw new Error("EXPLAIN of nothing");
  const options = fieldAt(json, query.end);
  return {
    start: query.end,
    end: options?.end ?? query.end,
    take: (rewritten) => rewritten.expect(',"options":') && rewritten.made(made),
  };
}
