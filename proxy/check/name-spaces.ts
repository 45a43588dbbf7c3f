import { type Catalog, type Relation, relationKey } from "../catalog/catalog.ts";
import type { TablePolicy } from "../policy/policy.ts";
import type { PolicyProblem } from "../policy/problems.ts";
import { comparable, isUnique, resolvePath } from "../policy/subject-path.ts";
import type { Labels } from "../sql/lineage.ts";
import { nounForms, wordsOf } from "../suggest/nouns.ts";
import { KEY_ENDINGS } from "../suggest/words.ts";
import { type Check, type Checked, warning } from "./checked.ts";

/*
 * One person must be one subject. `tickets.customer_id` and `customers.id` are two name spaces unless a foreign key or
 * a path declares them the same. Otherwise the same customer counts twice, and a search for the readers of customer 7
 * misses those who read that customer's tickets.
 */

/** A table whose subject names people, and the name space that they are counted in. */
interface Counted {
  readonly entry: TablePolicy;
  readonly relation: Relation;
  readonly subject: NonNullable<Labels["subject"]>;
}

/** Tables whose people are counted separately from the same people of another table. */
export const nameSpaces: Check = (checked) => {
  const { catalog, lineage, policy } = checked;
  if (catalog === undefined || lineage === undefined) return stopEarly(checked, () => true);
  const counted = [...policy.tables.values()].flatMap((entry): readonly Counted[] => {
    const relation = catalog.relations.get(entry.name);
    const subject = relation && lineage.labels(relation).subject;
    if (relation === undefined || subject === undefined || entry.subject === undefined) return [];
    return [{ entry, relation, subject }];
  });
  const own = counted.filter(isOwn);
  const isApart = (table: string, other: string) =>
    counted.find(({ entry }) => entry.name === table)?.subject.namespace !==
    counted.find(({ entry }) => entry.name === other)?.subject.namespace;
  const early = stopEarly(checked, isApart);
  const known = new Set(early.map(({ place }) => `${place.file}:${place.line}:${place.column}`));
  const apart = [...counted.flatMap((one) => apartFrom(one, own, checked)), ...twins(counted, own, checked)];
  return [
    ...early,
    ...apart.filter(({ place }) => !known.has(`${place.file}:${place.line}:${place.column}`)),
  ];
};

/** Whether the rows are the people themselves: the subject is a key of its table and leads nowhere else. */
function isOwn({ entry, relation, subject }: Counted): boolean {
  return (
    entry.subject !== undefined &&
    subject.hops === undefined &&
    subject.namespace === `${entry.name}.${entry.subject}` &&
    isUnique(relation, entry.subject)
  );
}

/**
 * `messages: conversation_id -> conversations.contact_id`, if a conversation itself belongs to its contact by a path.
 */
function stopEarly(
  { policy }: Checked,
  isApart: (table: string, other: string) => boolean,
): readonly PolicyProblem[] {
  return [...policy.tables.values()].flatMap((table) => {
    const last = table.path?.at(-1);
    const next = last && policy.tables.get(last.table);
    if (last === undefined || next?.path === undefined || next.subject !== last.column) return [];
    if (!isApart(table.name, next.name)) return [];
    const rest = next.path.map((step) => ` -> ${step.table}.${step.column}`).join("");
    const hint = `Go on to where the people of ${next.name} are: subject: ${written(table)}${rest}.`;
    return [apart(table, `${last.table}.${last.column}`, peopleAt(next), hint)];
  });
}

function apartFrom(one: Counted, own: readonly Counted[], checked: Checked): readonly PolicyProblem[] {
  const { catalog } = checked;
  if (catalog === undefined) return [];
  const { entry, relation, subject } = one;
  const end = subject.hops?.at(-1) ?? { relation, column: entry.subject ?? "" };
  const others = own.filter(
    (other) =>
      other.subject.namespace !== subject.namespace &&
      other.relation !== end.relation &&
      !areCopies(other.relation, end.relation) &&
      comparable(catalog, end, { relation: other.relation, column: other.entry.subject ?? "" }),
  );
  const isPeoples = own.some((other) => other.subject.namespace === subject.namespace);
  // A key of people may still be named after other people: profiles.customer_id.
  if (isPeoples && isNamedAfter(end.column, end.relation)) return [];
  const named = others
    .filter((other) => isCalledAfter(end.column, other))
    .toSorted((a, b) => Number(isBeside(b, relation)) - Number(isBeside(a, relation)));
  const meant = named[0] ?? (isPeoples ? undefined : others[0]);
  if (meant === undefined) return [];
  const target = meant.subject.namespace;
  const where = `${relationKey(end.relation.schema, end.relation.name)}.${end.column}`;
  const key = `give ${where} a foreign key to ${meant.entry.name}`;
  const advice = leadsTo(meant, one, checked)
    ? `Write subject: ${written(entry)} -> ${target}, or ${key}.`
    : `${key}.`;
  // Only a guess, if no name says so.
  const hint = named[0] === undefined ? `If they are the same people: ${advice}` : advice;
  return [apart(entry, subject.namespace, target, `${hint[0]?.toUpperCase()}${hint.slice(1)}`)];
}

/** Whether the path could continue to a table of people. */
function leadsTo(
  { entry: people }: Counted,
  { entry, relation }: Counted,
  { policy, catalog }: Checked,
): boolean {
  const step = { table: people.name, column: people.subject ?? "" };
  const longer = { ...entry, path: [...(entry.path ?? []), step] };
  return catalog !== undefined && resolvePath(longer, relation, policy, catalog).ok;
}

/** Two columns of one name in databases without a table of the people: orders.customer_id, tickets.customer_id. */
function twins(
  counted: readonly Counted[],
  own: readonly Counted[],
  { catalog }: Checked,
): readonly PolicyProblem[] {
  if (catalog === undefined) return [];
  const spaces = new Set(own.map(({ subject }) => subject.namespace));
  const single = counted.filter(
    ({ subject }) => subject.hops === undefined && !spaces.has(subject.namespace),
  );
  return single.flatMap((one, i) => {
    const other = single.slice(0, i).find((earlier) => areTwins(earlier, one, catalog));
    if (other === undefined) return [];
    const hint = "Lead both over foreign keys or paths to one table of the people.";
    return [apart(one.entry, one.subject.namespace, other.subject.namespace, hint)];
  });
}

/** Tables of one name in two schemas are two tenants' tables or two copies, and their people are not the same. */
function areCopies(a: Relation, b: Relation): boolean {
  return a.schema !== b.schema && a.name === b.name;
}

function areTwins(a: Counted, b: Counted, catalog: Catalog): boolean {
  return (
    a.subject.column === b.subject.column &&
    a.subject.namespace !== b.subject.namespace &&
    !areCopies(a.relation, b.relation) &&
    comparable(
      catalog,
      { relation: a.relation, column: a.subject.column },
      { relation: b.relation, column: b.subject.column },
    )
  );
}

/** `customer_id` for `customers`; `customer_no` if the key itself has that name. */
function isCalledAfter(column: string, { relation, entry }: Counted): boolean {
  const words = wordsOf(column);
  return (words === wordsOf(entry.subject ?? "") && words.includes(" ")) || isNamedAfter(column, relation);
}

function isBeside({ relation }: Counted, { schema }: Relation): boolean {
  return relation.schema === schema;
}

function isNamedAfter(column: string, relation: Relation): boolean {
  const words = wordsOf(column);
  const ending = KEY_ENDINGS.find((each) => words.endsWith(` ${each}`));
  if (ending === undefined) return false;
  const stems = nounForms(words.slice(0, -ending.length - 1));
  const nouns = new Set(nounForms(wordsOf(relation.name)));
  return stems.some((stem) => nouns.has(stem));
}

function apart(table: TablePolicy, space: string, people: string, hint: string): PolicyProblem {
  return warning(
    table.subjectPlace ?? table.place,
    `the people of ${table.name} are counted as ${space}, apart from those of ${people}: the same person may count twice, and "audit who-read" finds only one of the two`,
    hint,
  );
}

function written({ subject = "", path = [] }: TablePolicy): string {
  return [subject, ...path.map((step) => `${step.table}.${step.column}`)].join(" -> ");
}

function peopleAt({ name, subject = "", path = [] }: TablePolicy): string {
  const last = path.at(-1);
  return last === undefined ? `${name}.${subject}` : `${last.table}.${last.column}`;
}
