import { type Catalog, type Column, type Relation, relationKey } from "../catalog/catalog.ts";
import { groupBy } from "../catalog/group.ts";
import type { Place, TablePolicy } from "../policy/policy.ts";
import { RELATION_NAME } from "../policy/schema.ts";
import { comparable, isUnique, parseSubject, resolvePath } from "../policy/subject-path.ts";
import { isSystemSchema } from "../sql/system-relations.ts";
import { type Comments, endsWithAny, type Guess, guessColumn } from "./guess-column.ts";
import { nounForms, wordsOf } from "./nouns.ts";
import { KEY_ENDINGS, PEOPLE, STAFF } from "./words.ts";

export interface TableGuess {
  readonly relation: Relation;
  /** `schema.table` */
  readonly key: string;
  /** Without columns that an inheritance parent has an entry for. */
  readonly columns: ReadonlyMap<Column, Guess>;
  readonly subject?: SubjectGuess;
  /** An ancestor's subject and grants apply to it. */
  readonly inherits: boolean;
}

export interface SubjectGuess {
  /** As written in a policy: a column, or a path. */
  readonly text: string;
  /** Whether the rows are the people themselves. */
  readonly own: boolean;
  /** What a person should check. */
  readonly unsure?: string;
}

/** The tables about people, and how they are: only those, sorted by name. */
export function guessTables(catalog: Catalog, comments: Comments): readonly TableGuess[] {
  const people = new People(catalog, comments);
  return people.tables();
}

/** The database's own relations that have rows; partitions belong to their parent. */
export function tablesOf(catalog: Catalog): readonly Relation[] {
  return [...catalog.relations.values()]
    .filter(({ schema, kind, isPartition }) => !isSystemSchema(schema) && !isPartition && HAVE_ROWS.has(kind))
    .toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
}

const HAVE_ROWS: ReadonlySet<Relation["kind"]> = new Set(["table", "partitioned", "foreign table"]);
const NAME: Guess = { kind: "class", name: "name", identifies: true };
/** Classes of attributes that a person has only once. */
const OF_ONE_PERSON = ["name", "birth", "national_id"];
/** The suggestion is not in a file yet, so problems in it have no position. */
const NOWHERE: Place = { file: "", line: 1, column: 1 };

interface Root {
  readonly relation: Relation;
  readonly column: string;
}

class People {
  readonly #catalog: Catalog;
  readonly #relations: readonly Relation[];
  readonly #columns: ReadonlyMap<Relation, ReadonlyMap<Column, Guess>>;
  readonly #subjects = new Map<Relation, SubjectGuess>();
  /** The same tables as in the later policy, for resolving paths. */
  readonly #policy = { tables: new Map<string, TablePolicy>() };

  constructor(catalog: Catalog, comments: Comments) {
    this.#catalog = catalog;
    // Parents first, because their children inherit from them.
    this.#relations = tablesOf(catalog)
      .filter((relation) => RELATION_NAME.test(keyOf(relation)))
      .toSorted((a, b) => this.#ancestors(a).length - this.#ancestors(b).length);
    this.#columns = new Map(
      this.#relations.map((relation) => [
        relation,
        new Map(relation.columns.map((column) => [column, guessColumn(catalog, relation, column, comments)])),
      ]),
    );
  }

  tables(): readonly TableGuess[] {
    // The most certain first: a table that references a customer belongs to the customer, even if it has an e-mail
    // address of its own.
    for (const relation of this.#relations)
      if (isNamed(relation, PEOPLE) && this.#identifies(relation)) this.#own(relation);
    this.#follow();
    const roots = [...this.#subjects].filter(([, { own }]) => own);
    const named = groupBy(
      roots.flatMap(([relation, { text }]) =>
        nounForms(wordsOf(relation.name)).map((form) => ({ form, relation, column: text })),
      ),
      ({ form }) => form,
    );
    for (const relation of this.#relations) this.#byName(relation, named);
    this.#follow();
    for (const relation of this.#relations)
      if (this.#identifies(relation)) this.#own(relation, "each row counts as one person");
    this.#follow();
    return tablesOf(this.#catalog).flatMap((one) => (this.#isListed(one) ? this.#guess(one) : []));
  }

  /** Whether it has a column that identifies a person; `name` does so only in a table named after people. */
  #identifies(relation: Relation, among?: readonly string[]): boolean {
    return this.#resolved(relation).some(
      ([, guess]) => guess.kind === "class" && (among?.includes(guess.name) ?? guess.identifies),
    );
  }

  #own(relation: Relation, unsure?: string): void {
    if (this.#isKnown(relation)) return;
    const [key, ...more] = relation.primaryKey;
    const unique = relation.columns.find(
      (column) => column.notNull && isUnique(relation, column.name) && this.#isPlain(relation, column),
    );
    const column = more.length === 0 && key !== undefined ? key : unique?.name;
    if (column !== undefined) this.#set(relation, column, { own: true, ...(unsure && { unsure }) });
  }

  #isPlain(relation: Relation, column: Column): boolean {
    const guess = this.#columns.get(relation)?.get(column);
    return guess?.kind === "class" && guess.name === "plain";
  }

  /** Follows foreign keys step by step; uses those to staff only if nothing else is left. */
  #follow(): void {
    for (const staff of [false, true]) {
      let found = true;
      while (found) {
        found = false;
        // Every round uses only the results of the previous one, so that the shortest path is taken.
        const known = new Map(this.#subjects);
        for (const relation of this.#relations) {
          if (!this.#isKnown(relation) && this.#byKey(relation, known, staff)) found = true;
        }
      }
    }
  }

  #byKey(relation: Relation, known: ReadonlyMap<Relation, SubjectGuess>, staff: boolean): boolean {
    const keys = relation.foreignKeys.flatMap(({ columns, references, referencedColumns }) => {
      const target = this.#catalog.relationsByOid.get(references);
      const [[column, ...more], [referenced]] = [columns, referencedColumns];
      if (target === undefined || column === undefined || more.length > 0 || !known.has(target)) return [];
      const notNull = relation.columns.find(({ name }) => name === column)?.notNull === true;
      return [{ column, target, referenced, notNull }];
    });
    const usable = keys.filter(({ target }) => staff || !isNamed(target, STAFF));
    for (const key of usable.toSorted((a, b) => Number(b.notNull) - Number(a.notNull))) {
      const others = keys.filter(({ column, target }) => column !== key.column && known.get(target)?.own);
      const text = this.#way(key.column, key.target, key.referenced);
      const doubts = others.map(({ column }) => `${column} names a person as well`);
      if (this.#identifies(relation, OF_ONE_PERSON)) doubts.push("each row may be a person of its own");
      const unsure = doubts.length === 0 ? {} : { unsure: doubts.join("; ") };
      if (this.#set(relation, text, { own: false, ...unsure })) return true;
    }
    return false;
  }

  /** `ticket_id -> public.tickets.customer_id`; only the column if it is the person's own key. */
  #way(column: string, target: Relation, referenced: string | undefined): string {
    const next = this.#subjects.get(target)?.text ?? "";
    return next === referenced ? column : `${column} -> ${keyOf(target)}.${next}`;
  }

  /** For databases without foreign keys: `customer_id` in a schema with a table `customers`. */
  #byName(relation: Relation, roots: ReadonlyMap<string, readonly Root[]>): void {
    if (this.#isKnown(relation)) return;
    for (const { name } of relation.columns) {
      const words = wordsOf(name);
      const ending = KEY_ENDINGS.find((each) => words.endsWith(` ${each}`));
      if (ending === undefined) continue;
      const root = nounForms(words.slice(0, -ending.length - 1))
        .flatMap((form) => roots.get(form) ?? [])
        .find(
          (each) =>
            each.relation.schema === relation.schema &&
            comparable(this.#catalog, { relation, column: name }, each),
        );
      if (root === undefined) continue;
      const unsure = `by the name of ${name} alone; no foreign key leads from it`;
      const path = `${name} -> ${keyOf(root.relation)}.${root.column}`;
      if (this.#set(relation, path, { own: false, unsure })) return;
      if (this.#set(relation, name, { own: false, unsure })) return;
    }
  }

  /** False if a policy cannot express the path, or it does not resolve. */
  #set(relation: Relation, text: string, guess: Omit<SubjectGuess, "text">): boolean {
    const parsed = parseSubject(text);
    if (parsed === undefined || !relation.columns.some(({ name }) => name === parsed.column)) return false;
    const written = [parsed.column, ...parsed.steps.map(({ table, column }) => `${table}.${column}`)];
    if (written.join(" -> ") !== text) return false;
    const table: TablePolicy = {
      name: keyOf(relation),
      subject: parsed.column,
      ...(parsed.steps.length > 0 && { path: parsed.steps }),
      columns: new Map(),
      documents: new Map(),
      place: NOWHERE,
    };
    if (!resolvePath(table, relation, this.#policy, this.#catalog).ok) return false;
    this.#policy.tables.set(table.name, table);
    this.#subjects.set(relation, { text, ...guess });
    return true;
  }

  #isKnown(relation: Relation): boolean {
    return [relation, ...this.#ancestors(relation)].some((each) => this.#subjects.has(each));
  }

  #ancestors(relation: Relation): readonly Relation[] {
    return relation.parents.flatMap((oid) => {
      const parent = this.#catalog.relationsByOid.get(oid);
      return parent === undefined ? [] : [parent, ...this.#ancestors(parent)];
    });
  }

  #isListed(relation: Relation): boolean {
    return (
      this.#isKnown(relation) ||
      this.#resolved(relation).some(([, guess]) => guess.kind === "class" && guess.name !== "plain")
    );
  }

  /** The table decides whose name a name column holds. */
  #resolved(relation: Relation): readonly (readonly [Column, Guess])[] {
    const people = this.#subjects.get(relation)?.own === true || isNamed(relation, PEOPLE);
    return [...(this.#columns.get(relation) ?? [])].map(([column, guess]) => [
      column,
      guess.kind !== "name"
        ? guess
        : people
          ? NAME
          : { kind: "unsure", why: "a name, of a person or of a thing" },
    ]);
  }

  #guess(relation: Relation): TableGuess {
    const subject = this.#subjects.get(relation);
    const listed = this.#ancestors(relation).filter((each) => this.#isListed(each));
    const columns = this.#resolved(relation).filter(
      ([{ name }]) => !listed.some((each) => each.columns.some((column) => column.name === name)),
    );
    return {
      relation,
      key: keyOf(relation),
      columns: new Map(columns),
      inherits: subject === undefined && this.#isKnown(relation),
      ...(subject && { subject }),
    };
  }
}

function keyOf({ schema, name }: Relation): string {
  return relationKey(schema, name);
}

function isNamed({ name }: Relation, words: readonly string[]): boolean {
  return nounForms(wordsOf(name)).some((form) => endsWithAny(form, words));
}
