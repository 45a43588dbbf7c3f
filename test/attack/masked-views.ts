import { quoteIdentifier, quoteQualified } from "../../proxy/pg/quote.ts";
import { Sights } from "../../proxy/sql/sight.ts";
import type { SupportUser } from "../harness/postgres.ts";
import type { Judged } from "../sql/judged.ts";

/** Makes a schema of real views that show each relation as a user's role sees it. */
export async function maskedViews(judged: Judged, user: SupportUser, schema: string): Promise<void> {
  const sights = new Sights(judged.scope(user));
  const views = [...judged.catalog.relations.values()].flatMap((relation) => {
    if (relation.schema !== "public" || relation.kind === "sequence") return [];
    const sight = sights.of(relation);
    if (!sight.ok) return [];
    const columns = sight.sight.columns.flatMap(({ kind, sql, column }) =>
      kind === "absent" ? [] : [`${sql} AS ${quoteIdentifier(column.name)}`],
    );
    const where = sight.sight.filter === undefined ? "" : ` WHERE ${sight.sight.filter}`;
    return [
      `CREATE VIEW ${quoteQualified(schema, relation.name)} AS SELECT ${columns.join(", ")} FROM ${quoteQualified("public", relation.name)}${where};`,
    ];
  });
  await judged.database.query(`CREATE SCHEMA ${schema}; ${views.join("\n")}`);
}
