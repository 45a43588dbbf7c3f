import { createHash } from "node:crypto";
import { analyse } from "../../proxy/sql/analyse.ts";
import type { Scope } from "../../proxy/sql/scope.ts";
import { type CorpusStatement, groupOf, imagine, imaginePolicy } from "./corpus.ts";

/** Identifies a statement of the corpus: its text is not ours to keep in the repository. */
export function markOf({ source, sql }: CorpusStatement): string {
  return createHash("sha256").update(`${source}\0${sql}`).digest("hex").slice(0, 12);
}

/** "ok", or the SQLSTATE with which a counted agent who may write everything is refused; undefined: not SQL. */
export function verdictOf(scope: Scope, { sql }: CorpusStatement): string | undefined {
  if (groupOf(sql) === "invalid") return undefined;
  const catalog = imagine(scope.catalog, sql);
  const policy = imaginePolicy(scope.policy, catalog);
  const role = { ...scope.role, writes: "all" as const };
  const verdict = analyse(sql, { ...scope, catalog, policy, role });
  return verdict.kind === "refuse" ? verdict.refusal.sqlstate : "ok";
}
