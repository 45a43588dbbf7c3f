import type {
  CopyStmt,
  DeclareCursorStmt,
  ExecuteStmt,
  ExplainStmt,
  Node,
  PrepareStmt,
  SelectStmt,
} from "libpg-query";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { BoundQuery, BoundRelation, BoundStatement } from "../bind/bound.ts";
import { nodeOf } from "../parse/grammar.ts";
import type { RawStatement } from "../parse/parse-text.ts";
import type { Source } from "../parse/source.ts";
import { copyOnServer } from "./copies.ts";
import { denied, placeOfRole } from "./denied.ts";
import { explainedExecute } from "./explained.ts";
import type { Given } from "./given.ts";
import { type Utility, utilityOf } from "./utility.ts";

/* Which statements a guarded role may send at all, and in which form. */

/** A statement that is a query, or that contains one. */
export type Form =
  | { readonly form: "query"; readonly query: BoundQuery }
  | { readonly form: "prepare"; readonly query: BoundQuery; readonly body: PrepareStmt }
  | { readonly form: "declare"; readonly query: BoundQuery; readonly body: DeclareCursorStmt }
  | { readonly form: "explain"; readonly query: BoundQuery; readonly body: ExplainStmt }
  | { readonly form: "explain execute"; readonly body: ExecuteStmt }
  | { readonly form: "copy"; readonly query: BoundQuery; readonly body: CopyStmt }
  | { readonly form: "utility"; readonly utility: Utility };

/** The target whose rows the command tag counts. */
export function taggedTarget(form: Form): BoundRelation | undefined {
  if (!("query" in form) || (form.form === "copy" && form.body.is_from !== true)) return undefined;
  return form.query.write?.target;
}

export type FormFinding =
  | { readonly ok: true; readonly form: Form }
  | { readonly ok: false; readonly refusal: Refusal };

export function formOf(
  source: Source,
  raw: RawStatement,
  statement: BoundStatement,
  given: Pick<Given, "role">,
): FormFinding {
  const [type, body] = nodeOf(raw.node);
  if (QUERIES.has(type)) return ofQuery(statement, given, (query) => ({ form: "query", query }));
  switch (type) {
    case "PrepareStmt":
      return around(statement, given, (body as PrepareStmt).query, (query) => ({
        ...{ form: "prepare", query, body: body as PrepareStmt },
      }));
    case "DeclareCursorStmt":
      return around(statement, given, (body as DeclareCursorStmt).query, (query) => ({
        ...{ form: "declare", query, body: body as DeclareCursorStmt },
      }));
    case "ExplainStmt":
      return explain(statement, given, body as ExplainStmt);
    case "CopyStmt": {
      const refusal = copyOnServer(given, body as CopyStmt);
      if (refusal !== undefined) return { ok: false, refusal };
      return ofQuery(statement, given, (query) => ({ form: "copy", query, body: body as CopyStmt }));
    }
    default: {
      const found = utilityOf(given.role, statement, type, body);
      if (found === undefined) return { ok: false, refusal: unserved(given, firstWords(source, raw)) };
      return "refusal" in found
        ? { ok: false, refusal: found.refusal }
        : { ok: true, form: { form: "utility", utility: found } };
    }
  }
}

/** What may also be prepared, explained or declared. */
const QUERIES: ReadonlySet<string> = new Set([
  "SelectStmt",
  "InsertStmt",
  "UpdateStmt",
  "DeleteStmt",
  "MergeStmt",
]);

function ofQuery(
  { top }: BoundStatement,
  { role }: Pick<Given, "role">,
  made: (query: BoundQuery) => Form,
): FormFinding {
  if (top === undefined) throw new Error("a query that is not bound");
  if ((top.node as SelectStmt).intoClause === undefined) return { ok: true, form: made(top) };
  return {
    ok: false,
    refusal: refuse("42501", `role "${role.name}" may not create tables`, {
      hint: "SELECT … INTO makes a table; only a role that sees, reads and writes all may.",
    }),
  };
}

function around(
  statement: BoundStatement,
  given: Pick<Given, "role">,
  node: Node | undefined,
  made: (query: BoundQuery) => Form,
): FormFinding {
  const [type] = nodeOf(node ?? {});
  return QUERIES.has(type) ? ofQuery(statement, given, made) : { ok: false, refusal: notAround(given, type) };
}

function explain(statement: BoundStatement, given: Pick<Given, "role">, body: ExplainStmt): FormFinding {
  const [type, inner] = nodeOf(body.query ?? {});
  if (type !== "ExecuteStmt")
    return around(statement, given, body.query, (query) => ({ form: "explain", query, body }));
  const refusal = explainedExecute(given, body);
  return refusal === undefined
    ? { ok: true, form: { form: "explain execute", body: inner as ExecuteStmt } }
    : { ok: false, refusal };
}

/** What PREPARE, DECLARE and EXPLAIN accept besides queries. */
function notAround({ role }: Pick<Given, "role">, type: string): Refusal {
  const what = OTHER_QUERIES[type] ?? "this statement";
  return denied(
    role,
    `role "${role.name}" may not prepare or explain ${what}`,
    "sees",
    `Send it by itself, or explain the query in it; only a role with "reads: all", "writes: all" and "sees: all" may.`,
  );
}

/** ExplainableStmt and PreparableStmt of parser/gram.y. */
const OTHER_QUERIES: Readonly<Record<string, string>> = {
  CreateTableAsStmt: "CREATE TABLE … AS",
  RefreshMatViewStmt: "REFRESH MATERIALIZED VIEW",
  DeclareCursorStmt: "DECLARE CURSOR",
};

function unserved({ role }: Pick<Given, "role">, words: string): Refusal {
  return refuse("42501", `role "${role.name}" may not run ${words}`, {
    rule: `roles.${role.name}`,
    hint: `Only a role with "reads: all", "writes: all" and "sees: all" may (${placeOfRole(role)}).`,
  });
}

/** `CREATE TABLE`: the statement's first keywords, for messages. */
function firstWords({ tokens }: Source, { start, end }: RawStatement): string {
  const words = tokens.filter((token) => token.start >= start && token.end <= end).slice(0, 2);
  return words
    .filter(({ text }) => /^[a-z]+$/i.test(text))
    .map(({ text }) => text.toUpperCase())
    .join(" ");
}
