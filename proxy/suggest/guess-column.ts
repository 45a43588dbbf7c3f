import type { Catalog, Column, Relation } from "../catalog/catalog.ts";
import { commentKey } from "../catalog/column-comments.ts";
import { maskedType } from "../policy/against-catalog.ts";
import { wordsOf } from "./nouns.ts";
import { type ClassRule, HARMLESS, NAME_ENDINGS, RULES, SENSITIVE } from "./words.ts";

/** What a column holds, as far as the catalog shows. */
export type Guess =
  | { readonly kind: "class"; readonly name: string; readonly identifies: boolean }
  /** The name of whatever the table is about. */
  | { readonly kind: "name" }
  | { readonly kind: "unsure"; readonly why: string };

/** By `commentKey`. */
export type Comments = ReadonlyMap<string, string>;

const PLAIN: Guess = { kind: "class", name: "plain", identifies: false };
const DELICATE: Guess = { kind: "unsure", why: "its name or comment speaks of something delicate" };

export function guessColumn(catalog: Catalog, relation: Relation, column: Column, comments: Comments): Guess {
  const byName = guessByName(catalog, relation, column);
  const { category } = maskedType(catalog, column);
  if ((byName.kind === "class" && byName !== PLAIN) || isKey(relation, column.name)) return byName;
  const comment = wordsOf(comments.get(commentKey(relation.oid, column.number)) ?? "");
  // A comment never exposes a column, but it can hide one that its name would expose.
  if (holdsAny(comment, SENSITIVE)) return DELICATE;
  const told = "BDE".includes(category) ? undefined : ruleOf(comment);
  if (told === undefined || told.name === "text") return byName;
  return { kind: "unsure", why: `its comment speaks of "${told.name}"` };
}

function guessByName(catalog: Catalog, relation: Relation, column: Column): Guess {
  const words = wordsOf(column.name);
  const { category, name: type } = maskedType(catalog, column);
  if (holdsAny(words, SENSITIVE)) return DELICATE;
  const rule = ruleOf(words);
  // The letters are those of pg_type.typcategory.
  switch (category) {
    case "B":
    case "E":
    case "T":
      return PLAIN;
    case "I":
      return { kind: "class", name: "ip", identifies: false };
    case "D":
      return rule?.name === "birth" ? ofClass(rule) : PLAIN;
    case "N":
      return rule?.numbers ? ofClass(rule) : PLAIN;
    case "S":
      if (rule !== undefined) return ofClass(rule);
      if (endsWithAny(words, NAME_ENDINGS)) return { kind: "name" };
      if (endsWithAny(words, HARMLESS)) return PLAIN;
      if (isKey(relation, column.name)) return referred(relation, column.name);
      return { kind: "unsure", why: "a text, and its name says nothing" };
    default:
      if (rule !== undefined) return ofClass(rule);
      return type === "uuid" ? PLAIN : { kind: "unsure", why: "its type may hold anything" };
  }
}

/** A text that references a name or e-mail address elsewhere is one. */
function referred({ foreignKeys }: Relation, name: string): Guess {
  const key = foreignKeys.find(({ columns }) => columns.length === 1 && columns[0] === name);
  const words = wordsOf(key?.referencedColumns[0] ?? "");
  const rule = ruleOf(words);
  if (rule !== undefined) return ofClass(rule);
  return endsWithAny(words, NAME_ENDINGS) ? { kind: "name" } : PLAIN;
}

function ofClass({ name, identifies }: ClassRule): Guess {
  return { kind: "class", name, identifies };
}

function isKey({ primaryKey, foreignKeys }: Relation, name: string): boolean {
  return primaryKey.includes(name) || foreignKeys.some(({ columns }) => columns.includes(name));
}

function ruleOf(name: string): ClassRule | undefined {
  return RULES.find(({ name: className, words, within }) => {
    if (className === "text") return endsWithAny(name, words);
    return holdsAny(name, words) || within.some((part) => name.includes(part));
  });
}

function holdsAny(name: string, entries: readonly string[]): boolean {
  return entries.some((entry) => ` ${name} `.includes(` ${entry} `));
}

export function endsWithAny(name: string, entries: readonly string[]): boolean {
  return entries.some((entry) => ` ${name}`.endsWith(` ${entry}`));
}
