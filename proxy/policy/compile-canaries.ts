import type { PolicyDocument } from "./document.ts";
import { canaryKey, type TablePolicy } from "./policy.ts";
import type { Problems } from "./problems.ts";

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Decoys by name space and id, with the group that each was made for. */
export function compileCanaries(
  documents: readonly PolicyDocument[],
  tables: ReadonlyMap<string, TablePolicy>,
  problems: Problems,
): ReadonlyMap<string, string> {
  const groups = new Map<string, string>();
  for (const document of documents) {
    for (const [table, decoys] of Object.entries(document.content.canaries ?? {})) {
      const place = document.placeOfKey(["canaries", table]);
      const entry = tables.get(table);
      // Who stands at the end of a path is a decoy of the table at its end.
      const subject = entry?.path === undefined ? entry?.subject : undefined;
      if (subject === undefined) {
        problems.error(
          place,
          `canaries of ${table}: nothing says whose record a row of it is`,
          `Say so under "tables:", as in ${table}: { subject: id }.`,
        );
        continue;
      }
      const lists = Array.isArray(decoys) ? [["", decoys] as const] : Object.entries(decoys);
      for (const [group, ids] of lists) {
        for (const id of ids) {
          // As Postgres writes it.
          const text = UUID.test(String(id)) ? String(id).toLowerCase() : String(id);
          const key = canaryKey(`${table}.${subject}`, text);
          const other = groups.get(key);
          if (other !== undefined && other !== group) {
            problems.error(
              place,
              `canary ${text} is in two groups`,
              "A decoy that leaks must name one group.",
            );
          }
          groups.set(key, group);
        }
      }
    }
  }
  return groups;
}
