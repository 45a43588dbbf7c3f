import type { Node } from "libpg-query";
import { type Body, forEachChild, UnknownSyntax, visitNode } from "../grammar.ts";
import type { BoundQuery, Meaning, Problem, ProblemState, WithQuery } from "./bound.ts";
import type { Environment } from "./environment.ts";
import type { Level, Scope } from "./scope.ts";

/** Ends the binding of a statement: thrown inside this folder only, and caught by `bindStatement`. */
export class NotUnderstood extends Error {
  readonly node: Body;
  readonly reason: "syntax" | "depth";
  constructor(message: string, node: Body, reason: "syntax" | "depth" = "syntax") {
    super(message);
    this.node = node;
    this.reason = reason;
  }
}

/** Deeper trees are refused before they overflow the stack. */
const MAXIMUM_DEPTH = 400;

/** Refuses a tree that has anything in it which grammar.ts does not list; what follows may read fields by their names. */
export function checkGrammar(type: string, body: Body, depth = 0): void {
  if (depth > MAXIMUM_DEPTH) throw new NotUnderstood("it is nested too deeply", body, "depth");
  const children: [type: string, body: Body][] = [];
  try {
    forEachChild(type, body, (...child) => children.push(child));
  } catch (error) {
    if (error instanceof UnknownSyntax) throw new NotUnderstood(error.message, body);
    throw error;
  }
  for (const [childType, child] of children) checkGrammar(childType, child, depth + 1);
}

/** Binds one kind of node where a name or a query begins; anything else is gone through by its children. */
export type Visitor = (binder: Binder, body: never, scope: Scope) => void;

/**
 * One statement while it is bound: what has been found so far. Nothing of it is changed once the statement is bound.
 * Queries have expressions and expressions have queries; the table of visitors, made in statement.ts, closes that circle.
 */
export class Binder {
  readonly environment: Environment;
  readonly queries: BoundQuery[] = [];
  readonly queryOf = new Map<Body, BoundQuery>();
  readonly bodyOf = new Map<WithQuery, BoundQuery>();
  readonly recursive = new Set<WithQuery>();
  readonly meanings = new Map<Body, Meaning>();
  readonly problems: Problem[] = [];
  readonly #visitors: Readonly<Record<string, Visitor>>;
  readonly #levels = new Map<Level, BoundQuery>();
  readonly #parents = new Map<BoundQuery, Level>();
  readonly #waiting = new Map<Body, (query: BoundQuery) => void>();

  constructor(environment: Environment, visitors: Readonly<Record<string, Visitor>>) {
    this.environment = environment;
    this.#visitors = visitors;
  }

  /** Expressions of a clause: one, a list, or none. */
  bind(nodes: Node | readonly Node[] | undefined, scope: Scope): void {
    if (nodes === undefined) return;
    for (const node of Array.isArray(nodes) ? (nodes as readonly Node[]) : [nodes as Node])
      visitNode(node, (type, body) => this.visit(type, body, scope));
  }

  visit(type: string, body: Body, scope: Scope): void {
    const visitor = Object.hasOwn(this.#visitors, type) ? this.#visitors[type] : undefined;
    if (visitor !== undefined) visitor(this, body as never, scope);
    else this.children(type, body, scope);
  }

  children(type: string, body: Body, scope: Scope): void {
    forEachChild(type, body, (childType, child) => this.visit(childType, child, scope));
  }

  /** A query is bound; `scope` is one of its own. */
  add(query: BoundQuery, scope: Scope): void {
    this.queries.push(query);
    this.queryOf.set(query.node, query);
    this.#levels.set(scope.level, query);
    if (scope.outer !== undefined) this.#parents.set(query, scope.outer.level);
    this.#waiting.get(query.node)?.(query);
  }

  /** Tells of a query as soon as it is bound: before what comes after it in the text. */
  whenBound(node: Body, tell: (query: BoundQuery) => void): void {
    this.#waiting.set(node, tell);
  }

  /** The query around each query, once all are bound. */
  parents(): ReadonlyMap<BoundQuery, BoundQuery> {
    const pairs = [...this.#parents].flatMap(([query, level]) => {
      const parent = this.#levels.get(level);
      return parent === undefined ? [] : [[query, parent] as const];
    });
    return new Map(pairs);
  }

  /** Postgres will refuse the statement; binding goes on, so that what else it names is known as well. */
  problem(sqlstate: ProblemState, message: string, node: Body): void {
    this.problems.push({ sqlstate, message, node });
  }
}
