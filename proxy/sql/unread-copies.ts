import type { Copied } from "./rules/copied-values.ts";

/*
 * What a text may store elsewhere that could not be read: its bytes mean something else to the server, or its analysis would
 * take too long. Its words are looked for wherever they stand, also in strings and comments. What is surely harmless is
 * listed: everything else that may store says no number.
 */

const NO_NUMBER = Number.POSITIVE_INFINITY;

/** Undefined: it stores nothing that it reads. `lost`: how many people's names a deleted row takes from others at most. */
export function copiesUnread(text: Buffer, lost: number): Copied | undefined {
  const words = text
    .toString("latin1")
    .replace(LEADING, "")
    .replace(/\bfor\s+(?:no\s+key\s+)?update\b/gi, "");
  if (ONE_ASIDE.test(words)) return undefined;
  if (KEEPS.test(words)) return { people: NO_NUMBER, isForGood: KEEPS_FOR_GOOD.test(words) };
  if (!STORES.test(words)) return undefined;
  if (/;\s*\S/.test(words)) return { people: NO_NUMBER, isForGood: false };
  const word = /^\w+/.exec(words)?.[0].toLowerCase() ?? "";
  if (HARMLESS[word]?.test(words) !== false) return { people: NO_NUMBER, isForGood: false };
  const people = { update: 1, delete: Math.max(1, lost) }[word];
  // The row's own values may go where they are not protected, and it may be taken from its person.
  return people === undefined ? undefined : { people, isForGood: false };
}

const LEADING = /^(?:[\s;(]|--[^\n]*\n|\/\*(?:[^*]|\*(?!\/))*\*\/)*/;

/** One statement of a transaction, of the session's settings, or one that asks for the next number of a sequence. */
const ONE_ASIDE =
  /^(?:(?:begin|start|commit|end|rollback|abort|savepoint|release|set|reset|show|discard|close|deallocate|listen|unlisten|notify)\b[^;]*|select\s+nextval\s*\(\s*'[\w."]+'\s*(?:::\s*regclass\s*)?\))[\s;]*$/i;

/** Functions that keep a value, or run a text that may (see `kept-by-calls.ts`), and names whose letters are not written as they are. */
const KEEPS =
  /set_config|pg_notify|\blo_|lowrite|advisory|setval|nextval|setseed|_to_xml|ts_stat|ts_rewrite|pg_logical|pg_replication|pg_create|u&"/i;
const KEEPS_FOR_GOOD = /advisory|setval|nextval|setseed|pg_logical|pg_replication|pg_create|u&"/i;

const STORES =
  /\b(?:insert|update|delete|merge|truncate|into|create|refresh|execute|prepare|do|call|alter)\b/i;

/** By the first word: what it must not have, to have nothing of other rows than its own. */
const HARMLESS: Readonly<Record<string, RegExp>> = {
  insert: /\b(?:select|table|execute|update|delete|merge|with)\b/i,
  update: /\b(?:select|table|from|insert|delete|merge|with|execute)\b/i,
  delete: /\b(?:select|table|using|insert|update|merge|with|execute)\b/i,
  select: /\b(?:into|with)\b/i,
  values: /\b(?:into|with)\b/i,
  create: /\b(?:select|execute|with|as)\b/i,
  alter: /\b(?:select|execute|using)\b/i,
};
