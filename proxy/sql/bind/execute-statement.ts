import type { ExecuteStmt } from "libpg-query";
import type { Binder } from "./binder.ts";
import { innerScope, type NameScope } from "./name-scope.ts";
import { clauses, expressionsOf, NOTHING } from "./select.ts";

/** EXECUTE's parameters can refer to no columns. */
export function bindExecute(binder: Binder, body: ExecuteStmt, outer: NameScope): void {
  const scope = innerScope(outer);
  binder.bind(body.params, scope);
  binder.add(
    {
      ...NOTHING,
      form: "execute",
      node: body,
      depth: scope.depth,
      clauses: clauses({ values: body.params }),
      ...expressionsOf({}, scope),
    },
    scope,
  );
}
