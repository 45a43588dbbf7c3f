import type { Node } from "libpg-query";
import { type Body, forEachChild, UnknownSyntax, visitNode } from "../parse/grammar.ts";
import type {
  BoundQuery,
  BoundRelation,
  Meaning,
  NameBehind,
  Problem,
  ProblemState,
  WithQuery,
} from "./bound.ts";
import { Allowance, Effort, LOOKS_OF_A_WHOLE_COLUMN } from "./effort.ts";
import type { Environment } from "./environment.ts";
import { type Level, type NameScope, namesAround } from "./name-scope.ts";

/** "effort": it is understood, but would take too long. */
export type NotUnderstoodReason = "syntax" | "depth" | "effort";

/** Ends the binding of a statement: thrown inside this folder only, and caught by `bindStatement`. */
export class NotUnderstood extends Error {
  readonly node: Body;
  readonly reason: NotUnderstoodReason;
  constructor(message: string, node: Body, reason: NotUnderstoodReason = "syntax") {
    super(message);
    this.node = node;
    this.reason = reason;
  }
}

/** Deeper trees are refused before they overflow the stack. */
const MAXIMUM_DEPTH = 400;

/** Nodes that have a meaning of their own: unless binding visits all of them, the statement is not understood. */
const MEANT: ReadonlySet<string> = new Set([
  ...["SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt", "SubLink", "RangeVar"],
  ...["ColumnRef", "A_Indirection", "FuncCall", "A_Expr", "CaseExpr", "SortBy", "TypeName"],
  ...["JsonArrayAgg", "JsonObjectAgg", "JsonArrayQueryConstructor"],
]);

/**
 * Refuses a tree that contains anything that grammar.ts does not list, so that later code may read fields by name.
 * Returns the nodes that have to be visited during binding.
 */
export function checkGrammar(type: string, body: Body, meant: Body[] = [], depth = 0): readonly Body[] {
  if (depth > MAXIMUM_DEPTH) throw new NotUnderstood("it is nested too deeply", body, "depth");
  if (MEANT.has(type)) meant.push(body);
  const children: [type: string, body: Body][] = [];
  try {
    forEachChild(type, body, (...child) => children.push(child));
  } catch (error) {
    if (error instanceof UnknownSyntax) throw new NotUnderstood(error.message, body);
    throw error;
  }
  for (const [childType, child] of children) checkGrammar(childType, child, meant, depth + 1);
  return meant;
}

/** Binds one kind of node that begins a name or a query; for other nodes, the children are visited. */
export type Visitor = (binder: Binder, body: never, scope: NameScope) => void;

/**
 * The state of one statement during its binding. Nothing in it changes once the statement is bound. Queries contain
 * expressions and expressions contain queries; the table of visitors, made in statement.ts, closes that circle.
 */
export class Binder {
  readonly environment: Environment;
  readonly queries: BoundQuery[] = [];
  readonly queryOf = new Map<Body, BoundQuery>();
  readonly bodyOf = new Map<WithQuery, BoundQuery>();
  readonly recursive = new Set<WithQuery>();
  readonly meanings = new Map<Body, Meaning>();
  readonly needSchema = new Set<Body>();
  readonly behind = new Map<Body, NameBehind>();
  readonly problems: Problem[] = [];
  /** Targets of the writes visited so far. */
  readonly targets = new Set<BoundRelation>();
  readonly #effort: Effort;
  readonly #visitors: Readonly<Record<string, Visitor>>;
  readonly #levels = new Map<Level, BoundQuery>();
  readonly #parents = new Map<BoundQuery, Level>();
  readonly #waiting = new Map<Body, (query: BoundQuery) => void>();
  readonly #met = new Set<Body>();

  constructor(environment: Environment, visitors: Readonly<Record<string, Visitor>>) {
    this.environment = environment;
    this.#effort = environment.effort ?? new Effort(Allowance.full());
    this.#effort.nextStatement();
    this.#visitors = visitors;
  }

  /** Expressions of a clause: one, a list, or none. */
  bind(nodes: Node | readonly Node[] | undefined, scope: NameScope): void {
    if (nodes === undefined) return;
    for (const node of Array.isArray(nodes) ? (nodes as readonly Node[]) : [nodes as Node])
      visitNode(node, (type, body) => this.visit(type, body, scope));
  }

  visit(type: string, body: Body, scope: NameScope): void {
    if (MEANT.has(type)) this.#met.add(body);
    const visitor = Object.hasOwn(this.#visitors, type) ? this.#visitors[type] : undefined;
    if (visitor !== undefined) visitor(this, body as never, scope);
    else this.children(type, body, scope);
  }

  children(type: string, body: Body, scope: NameScope): void {
    forEachChild(type, body, (childType, child) => this.visit(childType, child, scope));
  }

  /** Records that a node was bound without a visit. */
  meet(body: Body): void {
    this.#met.add(body);
  }

  /** Called when everything is bound: a part of a clause that was not visited would not be judged. */
  checkAllMet(meant: readonly Body[]): void {
    const missed = meant.find((body) => !this.#met.has(body));
    if (missed !== undefined) throw new NotUnderstood("it is in a place that is not supported", missed);
  }

  /** Counts one more item of FROM, or WITH query. */
  meetRelation(node: Body): void {
    if (!this.#effort.relation())
      throw new NotUnderstood("the statement names too many relations", node, "effort");
  }

  /** Counts the lookup of a name among everything around it. */
  lookAround(scope: NameScope, node: Body, isQualified = false): void {
    this.look(namesAround(scope, isQualified), node);
  }

  /** Counts a star or a whole row, which represents this many columns. */
  writeOut(columns: number, node: Body): void {
    this.look(LOOKS_OF_A_WHOLE_COLUMN * columns, node);
  }

  /** Counts the comparison of a name to this many columns. */
  look(columns: number, node: Body): void {
    if (!this.#effort.look(columns))
      throw new NotUnderstood("the statement names too many columns", node, "effort");
  }

  /** Adds a query that is bound; `scope` is one of its own. */
  add(query: BoundQuery, scope: NameScope): void {
    this.queries.push(query);
    this.queryOf.set(query.node, query);
    this.#levels.set(scope.level, query);
    if (scope.outer !== undefined) this.#parents.set(query, scope.outer.level);
    this.#waiting.get(query.node)?.(query);
  }

  /** Calls `tell` as soon as the query is bound, before anything after it in the text. */
  whenBound(node: Body, tell: (query: BoundQuery) => void): void {
    this.#waiting.set(node, tell);
  }

  /** The query around each query; complete when all are bound. */
  parents(): ReadonlyMap<BoundQuery, BoundQuery> {
    const pairs = [...this.#parents].flatMap(([query, level]) => {
      const parent = this.#levels.get(level);
      return parent === undefined ? [] : [[query, parent] as const];
    });
    return new Map(pairs);
  }

  /**
   * Records that Postgres will refuse the statement. Binding continues, so that the other names in it are known too.
   */
  problem(sqlstate: ProblemState, message: string, node: Body): void {
    this.problems.push({ sqlstate, message, node });
  }
}
