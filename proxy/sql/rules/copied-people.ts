import type { Refusal } from "../../wire/refusal.ts";
import type { BoundQuery, BoundRelation, BoundStatement, Meaning } from "../bind/bound.ts";
import { columnsBehind, tablesIn } from "../bind/questions.ts";
import { type Body, forEachChild, visitNode } from "../parse/grammar.ts";
import { denied } from "./denied.ts";
import type { Given } from "./given.ts";
import { isCounted, sightOf, speaksOfPeople } from "./people.ts";
import type { Target } from "./write-findings.ts";

/** People copied into another row would be read there without being counted. */
export function copiedPeople(statement: BoundStatement, given: Given, { key }: Target): Refusal | undefined {
  const { role, sights } = given;
  if (!isCounted(role)) return undefined;
  const targets = new Set(statement.queries.map(({ write }) => write?.target));
  const people = tablesIn(statement).find((each) => !targets.has(each) && speaksOfPeople(sights, each));
  const from = people && sightOf(sights, people)?.key;
  return denied(
    role,
    `role "${role.name}" may not copy from ${from ?? "other rows"} into ${key}`,
    "budget",
    "What is copied would be read there without being counted; send the values themselves.",
  );
}

/** Whether the assigned values of an UPDATE may be made from relations in FROM beside the target. */
export function takesCompanions({ meanings }: BoundStatement, query: BoundQuery): boolean {
  const companions = new Set(query.relations.filter((each) => each !== query.write?.target));
  let takes = false;
  const look = (type: string, body: Body): void => {
    const meaning = meanings.get(body);
    takes ||= meaning !== undefined && relationsOf(meaning).some((each) => companions.has(each));
    if (!takes) forEachChild(type, body, look);
  };
  for (const node of query.clauses.assignments ?? []) visitNode(node, look);
  return takes;
}

function relationsOf(meaning: Meaning): readonly BoundRelation[] {
  switch (meaning.kind) {
    case "column":
      return [meaning.column, ...columnsBehind(meaning.column)].map(({ relation }) => relation);
    case "row":
      return [meaning.relation];
    case "star":
      return meaning.relations;
    case "uncertain":
      return meaning.candidates.flatMap(relationsOf);
    default:
      return [];
  }
}
