import type { PolicyDocument } from "./document.ts";
import { type Canaries, canaryKey, type MarkedCanaries, type Place, type TablePolicy } from "./policy.ts";
import { parseCondition, placeholders } from "./policy-sql.ts";
import type { Problems } from "./problems.ts";

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/**
 * Returns decoys by name space and id, each with the group that it was made for, and the conditions that mark other
 * decoys.
 */
export function compileCanaries(
  documents: readonly PolicyDocument[],
  tables: ReadonlyMap<string, TablePolicy>,
  problems: Problems,
): Omit<Canaries, "action"> {
  const groups = new Map<string, string>();
  const marked: MarkedCanaries[] = [];
  for (const document of documents) {
    for (const [table, entry] of Object.entries(document.content.canaries ?? {})) {
      const place = document.placeOfKey(["canaries", table]);
      const known = tables.get(table);
      // The person at the end of a path is a decoy of the table at that end.
      const subject = known?.path === undefined ? known?.subject : undefined;
      if (subject === undefined) {
        problems.error(
          place,
          `canaries of ${table}: the policy does not name the person of its rows`,
          `Name it under "tables:", as in ${table}: { subject: id }.`,
        );
        continue;
      }
      const isOne = Array.isArray(entry) || typeof entry === "string";
      for (const [group, decoys] of isOne ? [["", entry] as const] : Object.entries(entry)) {
        if (typeof decoys === "string") {
          const path = isOne ? ["canaries", table] : ["canaries", table, group];
          const condition = markOf(decoys, document.placeOf(path), problems);
          if (condition !== undefined) marked.push({ table, subject, group, condition });
        } else addIds(groups, decoys, { namespace: `${table}.${subject}`, group, place }, problems);
      }
    }
  }
  return { groups, marked };
}

interface Given {
  readonly namespace: string;
  readonly group: string;
  readonly place: Place;
}

function addIds(
  groups: Map<string, string>,
  ids: readonly (string | number)[],
  { namespace, group, place }: Given,
  problems: Problems,
): void {
  for (const id of ids) {
    // Written as Postgres writes it.
    const text = UUID.test(String(id)) ? String(id).toLowerCase() : String(id);
    const key = canaryKey(namespace, text);
    const other = groups.get(key);
    if (other !== undefined && other !== group) {
      problems.error(place, `canary ${text} is in two groups`, "A decoy that leaks must name one group.");
    }
    groups.set(key, group);
  }
}

function markOf(sql: string, place: Place, problems: Problems): MarkedCanaries["condition"] | undefined {
  const parsed = parseCondition(sql);
  if (!parsed.ok) {
    problems.error(place, `condition: ${parsed.problem}`, parsed.hint);
    return undefined;
  }
  // The condition marks rows once for all users, and the control connection evaluates it.
  if (placeholders(sql).length > 0) {
    problems.error(place, "condition: decoys are the same for every user", "Leave :user out.");
    return undefined;
  }
  return { sql: parsed.sql, place };
}
