import type { A_Expr, SubLink } from "libpg-query";
import type { Equality } from "../bind/pins.ts";
import { nodeOf, stringOf } from "../parse/grammar.ts";

/** Whether the operator of an equality is a bare `=`, or Postgres's own: `OPERATOR(other.=)` may mean anything. */
export function isPlainEquality({ node }: Pick<Equality, "node">): boolean {
  if (node === undefined) return true;
  const [type, body] = nodeOf(node);
  const name = type === "SubLink" ? (body as SubLink).operName : (body as A_Expr).name;
  const [schema, ...more] = (name ?? []).map(stringOf);
  return more.length === 0 || (more.length === 1 && schema === "pg_catalog");
}
