import { type Place, type Role, relationSetHas } from "../policy.ts";
import { type Problems, suggest } from "../problems.ts";

/** A filter on a table that the role cannot access is most likely a misspelt name, and would protect nothing. */
export function checkReach(role: Role, table: string, key: string, place: Place, problems: Problems): void {
  const dot = table.indexOf(".");
  const [schema, relation] = [table.slice(0, dot), table.slice(dot + 1)];
  if (relationSetHas(role.reads, schema, relation) || relationSetHas(role.writes, schema, relation)) return;
  const known = role.reads === "all" ? [] : role.reads.tables;
  const hint = suggest(table, known, `Add it under "reads:", or take it out of "${key}:".`);
  problems.error(place, `role "${role.name}" may neither read nor write ${table}`, hint);
}
