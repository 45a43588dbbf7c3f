import type { ColumnRef, Node, RangeVar } from "libpg-query";
import { type Relation, relationKey } from "../catalog/catalog.ts";
import { type Refusal, type RefusalFields, refuse, type Sqlstate } from "../wire/refusal.ts";
import type { BoundRelation, BoundStatement } from "./bind/bound.ts";
import { tablesIn } from "./bind/questions.ts";
import type { Change } from "./changes.ts";
import type { Effort } from "./effort.ts";
import { type Body, forEachChild, visitNode } from "./grammar.ts";
import { type RawStatement, tooComplex } from "./parse.ts";
import type { Scope } from "./scope.ts";
import type { ColumnSight, RelationSight, Sights } from "./sight.ts";
import type { Source } from "./source.ts";
import type { BoundAsk, Effect, MadeEdit } from "./verdict.ts";

/** Ends the analysis of a text: thrown inside this floor only, and caught by `analyse`. */
export class Refused extends Error {
  readonly refusal: Refusal;
  constructor(refusal: Refusal) {
    super(refusal.message);
    this.refusal = refusal;
  }
}

/** Names of WITH queries in scope, innermost first. */
export interface CteScope {
  readonly names: ReadonlyMap<string, CteUse>;
  readonly outer: CteScope | undefined;
}

/** What each reference to a WITH query brings along. Known once the query has been visited. */
export interface CteUse {
  /** People that a row of it may show. */
  people: number;
  /** A masked column that it names: what is made of it may not be stored. */
  masked: string | undefined;
  /** Which of its columns are made of masks. */
  masks?: ReadonlyMap<string, ComparedMask>;
}

/** A masked column, by the name that messages give it. */
export interface ComparedMask {
  readonly column: string;
  readonly sight: ColumnSight;
}

/** One query level: what its FROM exposes to expressions, and the levels around it. */
export interface Level {
  readonly outer: Level | undefined;
  readonly ctes: CteScope | undefined;
  readonly references: FromReference[];
  /** Below the alias of a join: a part of the query level around it. */
  readonly isPart?: true;
  /** Around the operands of UNION, INTERSECT or EXCEPT. */
  readonly isSetOperation?: true;
  /** The WHERE clause of a SELECT. */
  readonly where?: Node | undefined;
  /** What its target list calls its columns, which ORDER BY and GROUP BY may name; "any" where a star hides that. */
  readonly outputs?: ReadonlySet<string> | "any";
}

/** One name that a FROM clause (or a write's target) exposes. */
export interface FromReference {
  readonly alias: string;
  /**
   * Exposed column name → the relation's own; undefined when the columns are not known. Exactly those that the text has
   * that is sent: a name that it lacks means something further out.
   */
  readonly columns: ReadonlyMap<string, string> | undefined;
  readonly use: RelationUse | undefined;
  /** Of a subquery or a WITH query: which of its columns are made of masks. */
  readonly masks?: ReadonlyMap<string, ComparedMask>;
}

/** The relation's own column that a reference in the text surely means. */
export interface Meant {
  readonly reference: FromReference;
  readonly column: string | undefined;
}

/** A reference to a relation of the catalog. */
export interface RelationUse {
  readonly reference: BoundRelation;
  readonly relation: Relation;
  readonly key: string;
  /** Undefined for relations of the system schemas. */
  readonly sight: RelationSight | undefined;
  /** The reference goes through a subquery, whose WHERE takes these conditions. */
  readonly conditions: string[];
  readonly isTarget: boolean;
}

/** Of syntax that nothing has been thought about for. */
export const WRITE_OTHERWISE =
  'Write it in another way; only a role with "reads: all", "writes: all" and "sees: all" may use this syntax.';

const MAXIMUM_DEPTH = 400;

export type Visit = (analysis: Analysis, body: never, level: Level) => void;

/** What holds a relation's subject to one value for each row around: a constant, or another reference's column. */
export type Pin = "constant" | FromReference;

/** A call that gathers, and the query level whose rows it does; undefined where that is not certain. */
export interface Gathering {
  readonly what: string;
  readonly level: Level | undefined;
}

/** The state of one statement's analysis: what it reads and does, and the edits that make it safe. */
export class Analysis {
  readonly scope: Scope;
  /** Where constants stand that name people, in the whole text: see `PinnedPerson`. */
  readonly places: number[];
  readonly source: Source;
  /** The statement, and how many come before it in the text. */
  readonly raw: RawStatement;
  readonly index: number;
  /** What its names mean. */
  readonly bound: BoundStatement;
  readonly sights: Sights;
  readonly edits: MadeEdit[];
  /** Of this statement, by where they begin. */
  readonly #editsAt = new Map<number, MadeEdit[]>();
  readonly reads = new Set<string>();
  readonly writes = new Set<string>();
  readonly masked = new Set<string>();
  /** See `Revealed`. */
  readonly revealed = { shown: new Set<string>(), shownWhere: new Set<string>(), found: new Set<string>() };
  /** All references to relations, system ones included. */
  readonly uses: RelationUse[] = [];
  /** Conditions that moved inside a subquery: not visited again. */
  readonly moved = new Set<Body>();
  /** Names in ORDER BY and DISTINCT ON that mean an output column. */
  readonly outputNames = new Map<ColumnRef, "surely" | "perhaps">();
  /** Where ON CONFLICT clauses begin (byte offsets): the query before one ends there. */
  readonly conflictClauses = new Set<number>();
  /** A column is named that no relation of the catalog has. */
  namesUnknown = false;
  lookups = 0;
  /** Look-ups that the values of parameters decide, at Bind. */
  readonly asks: BoundAsk[] = [];
  /** The statement is to be run later, by PREPARE or a cursor: what its parameters hold is not seen then. */
  isForLater = false;
  /** The statement is not run: its plan is shown. */
  isPlan = false;
  /** For how many people each one counts: the dearest class that was named in the clear or looked up by. */
  cost = 1;
  /** Calls that return another row's value. */
  picks = 0;
  /** Calls of functions outside pg_catalog that the role may call: each may give another person. */
  calls = 0;
  /** Of these, calls that may write. */
  readonly actingCalls: string[] = [];
  /** Functions of casts that the statement may apply (oids): each is judged once. */
  readonly castFunctions = new Set<number>();
  /** People of WITH queries: taken off where they are defined, added where they are referred to. */
  ctePeople = 0;
  /** References in WITH queries: `ctePeople` has taken them off already. */
  readonly withinWith = new Set<RelationUse>();
  /** Masked columns that are compared as they are seen, by name. */
  readonly compared = new Map<string, ComparedMask>();
  /** Masked columns named so far, in order. */
  readonly maskMentions: string[] = [];
  gathers: string | undefined;
  /** Calls that gather rows and are not known to gather one person's. */
  gatherings: readonly Gathering[] = [];
  /** System columns that are named, of relations that are read through a subquery. */
  readonly systemColumns = new Map<RelationUse, Set<string>>();
  /** Relations of which a star, a whole row or a join shows all columns. */
  readonly wholes = new Set<RelationUse>();
  /** What holds a relation's rows to one person. */
  readonly pins = new Map<RelationUse, Pin>();
  /** References some of whose rows a condition chooses, for what subqueries find by them: see held-by-join.ts. */
  readonly chosen = new Set<FromReference>();
  /** References whose rows are held to the person of another one's. */
  readonly ties = new Map<RelationUse, readonly RelationUse[]>();
  /** What a relation's subject is compared to, where that is a constant or a parameter. */
  readonly constants = new Map<RelationUse, Node>();
  /** Some expression names a column that the policy classifies, or looks somebody up by it. */
  namesProtected = false;
  /** The same without look-ups, which are counted by themselves. */
  expressesProtected = false;
  /** Aggregates: their values are made of several rows. */
  aggregates = 0;
  /** One of them may stand in a subquery and belong to a query around it. */
  outerAggregates = false;
  /** Calls with OVER: of what gives a number of rows, and others. */
  ranks = 0;
  windows = 0;
  /** References that are held to the same person as each other, one to one. */
  readonly samePersons = new Map<RelationUse, readonly RelationUse[]>();
  /** By the name in the FROM of a subquery: which of its columns is compared to which one outside. */
  readonly selections = new Map<Body, { readonly outer: Meant; readonly value: ColumnRef }>();
  /** A call of what outlives the statement, and so could carry off what it reads. */
  lasting: string | undefined;
  /** Told in place of the error of an assignment that would change what the role may not change: see kept-columns.ts. */
  keeps: Refusal | undefined;
  /** Inside a statement that stores what it reads. */
  storing = false;
  effect: Effect | undefined;
  #depth = 0;
  readonly #references: ReadonlyMap<Body, BoundRelation>;
  readonly #effort: Effort;
  readonly #visited = new Set<Body>();
  readonly #visitors: Readonly<Record<string, Visit>>;

  constructor(
    scope: Scope,
    source: Source,
    statement: { readonly raw: RawStatement; readonly index: number; readonly bound: BoundStatement },
    sights: Sights,
    edits: MadeEdit[],
    places: number[],
    effort: Effort,
    visitors: Readonly<Record<string, Visit>>,
  ) {
    this.scope = scope;
    this.places = places;
    this.source = source;
    this.raw = statement.raw;
    this.index = statement.index;
    this.bound = statement.bound;
    this.#references = new Map(tablesIn(statement.bound).map((reference) => [reference.node, reference]));
    this.sights = sights;
    this.edits = edits;
    this.#effort = effort;
    this.#visitors = visitors;
  }

  /** Visits a node's body by its type's own visitor, or else its children. */
  visit(type: string, body: Body, level: Level): void {
    if (this.moved.has(body)) return;
    this.#visited.add(body);
    if (++this.#depth > MAXIMUM_DEPTH) throw new Refused(tooComplex("the statement is nested too deeply"));
    const visitor = Object.hasOwn(this.#visitors, type) ? this.#visitors[type] : undefined;
    if (visitor !== undefined) visitor(this, body as never, level);
    else this.children(type, body, level);
    this.#depth--;
  }

  /** A column is named, or searched by its real value. */
  costs(sight: ColumnSight, use: "named" | "looked up"): void {
    const { kind, cost, isProtected } = sight;
    this.namesProtected ||= isProtected;
    if (use === "named") this.expressesProtected ||= isProtected;
    const isShown = kind === "real" || kind === "conditional";
    if (isShown || use === "looked up") this.cost = Math.max(this.cost, cost);
    this.#reveals(sight, use);
  }

  #reveals({ kind, classes }: ColumnSight, use: "named" | "looked up"): void {
    const { shown, shownWhere, found } = this.revealed;
    const told =
      use === "looked up" ? found : kind === "real" ? shown : kind === "conditional" ? shownWhere : undefined;
    if (told !== undefined) for (const name of classes) told.add(name);
  }

  /** What has been judged without a visit: it moves elsewhere, in another form. */
  passOver(body: Body): void {
    this.#visited.add(body);
  }

  /** The reference to a relation that a name is: where it is bound to none, it is read in two ways. */
  referenceOf(name: RangeVar): BoundRelation {
    return (
      this.#references.get(name) ??
      this.refuse("42501", "a relation is named where Sluice does not know it", { hint: WRITE_OTHERWISE })
    );
  }

  /** Bound references that no visitor has come to. */
  get unread(): readonly BoundRelation[] {
    const read = new Set(this.uses.map(({ reference }) => reference));
    return [...this.#references.values()].filter((reference) => !read.has(reference));
  }

  /** One more relation, subquery, function in FROM or WITH query. */
  meetRelation(): void {
    if (!this.#effort.relation()) throw new Refused(tooComplex("the statement names too many relations"));
  }

  /** A name, or a star, may mean so many columns. */
  look(columns: number): void {
    if (!this.#effort.look(columns)) throw new Refused(tooComplex("the statement names too many columns"));
  }

  hasVisited(body: Body): boolean {
    return this.#visited.has(body);
  }

  /** A masked column is named; what is stored may not be made of it. */
  mentionMasked(column: string): void {
    this.maskMentions.push(column);
    if (!this.storing) return;
    this.deny(
      `role "${this.scope.role.name}" sees ${column} masked: the mask would be stored as if it were the value`,
      "sees",
      `Leave ${column} out of what is written.`,
    );
  }

  children(type: string, body: Body, level: Level): void {
    forEachChild(type, body, (childType, child) => this.visit(childType, child, level));
  }

  /** Wrapped nodes: one, a list, or none. */
  nodes(nodes: object | readonly object[] | undefined, level: Level): void {
    if (nodes === undefined) return;
    for (const node of Array.isArray(nodes) ? nodes : [nodes])
      visitNode(node, (type, body) => this.visit(type, body, level));
  }

  /** Edits are kept once per place: the parse tree repeats nodes (`SET (a, b) = (SELECT …)`). */
  edit(at: number, end: number, text: string, change?: Change, list?: string): void {
    const here = this.#editsAt.get(at) ?? [];
    if (here.some((other) => other.end === end && other.text === text)) return;
    const made: MadeEdit = {
      ...{ at, end, text },
      ...(change !== undefined && { change }),
      ...(list !== undefined && { list }),
    };
    here.push(made);
    this.#editsAt.set(at, here);
    this.edits.push(made);
  }

  refuse(sqlstate: Sqlstate, message: string, fields: RefusalFields = {}): never {
    throw new Refused(refuse(sqlstate, message, fields));
  }

  /** 42501, with the policy key of the role that would allow it. */
  deny(message: string, key: string, hint: string): never {
    return this.refuse("42501", message, { rule: `roles.${this.scope.role.name}.${key}`, hint });
  }

  /** The line that a DBA would edit. */
  get rolePlace(): string {
    const { place, name } = this.scope.role;
    return `role "${name}" (${place.file}:${place.line})`;
  }
}

/** People that an output row may show, as far as the analysis has come: each reference may be another person. */
export function peopleSoFar(analysis: Analysis): number {
  const uses = analysis.uses.reduce((sum, { sight }) => {
    const people = sight?.people;
    return people === undefined ? sum : sum + people.unknown + (people.subject === undefined ? 0 : 1);
  }, 0);
  return uses + analysis.picks + analysis.calls + analysis.ctePeople;
}

export function relationKeyOf(relation: Relation): string {
  return relationKey(relation.schema, relation.name);
}

export function innerLevel(outer: Level, ctes: CteScope | undefined = outer.ctes): Level {
  return { outer, ctes, references: [] };
}

/**
 * What a part of a FROM clause sees of its own level, and the levels around it. Postgres passes over the other
 * items as if they were not there, and so finds a name further out (`p_lateral_only` in parser/parse_relation.c,
 * transformJoinOnClause in parser/parse_clause.c).
 */
export function partOfFrom(level: Level, visible: readonly FromReference[]): Level {
  let own = level;
  while (own.isPart && own.outer !== undefined) own = own.outer;
  return { outer: own.outer, ctes: level.ctes, references: [...visible] };
}

/**
 * The references that a column name may mean, innermost level first, as Postgres looks: a level that surely has
 * the name ends the search; a level with unknown columns does not.
 */
export function candidates(
  level: Level,
  qualifier: string | undefined,
  name: string,
): readonly FromReference[] {
  const found: FromReference[] = [];
  for (let at: Level | undefined = level; at !== undefined; at = at.outer) {
    const here = at.references.filter(({ alias, columns }) =>
      qualifier === undefined ? columns === undefined || columns.has(name) : alias === qualifier,
    );
    found.push(...here);
    if (here.some(({ columns }) => qualifier !== undefined || columns !== undefined)) return found;
  }
  return found;
}

/** Among how many a name is looked for. */
export function referencesAround(level: Level): number {
  let count = 0;
  for (let at: Level | undefined = level; at !== undefined; at = at.outer) count += at.references.length;
  return count;
}

/** References of that name at any level: what a whole-row reference may mean. */
export function namedReferences(level: Level, name: string): readonly FromReference[] {
  for (let at: Level | undefined = level; at !== undefined; at = at.outer) {
    const here = at.references.filter(({ alias }) => alias === name);
    if (here.length > 0) return here;
  }
  return [];
}
