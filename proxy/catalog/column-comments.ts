import type { Client } from "pg";
import { COMMENTS } from "./queries.ts";
import { inSnapshot } from "./transaction.ts";

/**
 * Comments on columns (COMMENT ON COLUMN), by `commentKey`. No analysis depends on them, so snapshots do not hold them.
 */
export async function readComments(client: Client): Promise<ReadonlyMap<string, string>> {
  const { rows } = await inSnapshot(client, (transaction) =>
    transaction.query<[relation: number, column: number, comment: string]>({
      text: COMMENTS.text,
      rowMode: "array",
    }),
  );
  return new Map(rows.map(([relation, column, comment]) => [commentKey(relation, column), comment]));
}

export function commentKey(relation: number, column: number): string {
  return `${relation}.${column}`;
}
