import type { PolicyDocument } from "./document.ts";
import type { Place, Written, WrittenRole } from "./policy.ts";

/** Collects the position of each key of the policy. */
export function writtenIn(documents: readonly PolicyDocument[]): Written {
  const roles = new Map<string, WrittenRole>();
  const canaries = new Map<string, Place>();
  for (const document of documents) {
    for (const name of Object.keys(document.content.roles ?? {}))
      roles.set(name, writtenRole(document, name));
    for (const table of Object.keys(document.content.canaries ?? {}))
      canaries.set(table, document.placeOfKey(["canaries", table]));
  }
  const onCanary = placeOf(documents, "on_canary");
  const unknownUsers = placeOf(documents, "unknown_users");
  const database = placeOf(documents, "database");
  return {
    roles,
    canaries,
    ...(onCanary && { onCanary }),
    ...(unknownUsers && { unknownUsers }),
    ...(database && { database }),
  };
}

function placeOf(
  documents: readonly PolicyDocument[],
  key: "on_canary" | "unknown_users" | "database",
): Place | undefined {
  return documents.find(({ content }) => content[key] !== undefined)?.placeOfKey([key]);
}

function writtenRole(document: PolicyDocument, name: string): WrittenRole {
  const entry = document.content.roles?.[name] ?? {};
  const keys = new Map<string, Place>();
  for (const [key, value] of Object.entries(entry)) {
    if (value === undefined) continue;
    const path = ["roles", name, key];
    keys.set(key, document.placeOfKey(path));
    if (Array.isArray(value)) {
      value.forEach((item, i) => {
        if (typeof item === "string") keys.set(`${key}.${item}`, document.placeOf([...path, i]));
      });
    } else if (typeof value === "object") {
      for (const inner of Object.keys(value))
        keys.set(`${key}.${inner}`, document.placeOfKey([...path, inner]));
    }
  }
  const dropped = Object.entries(entry.only ?? {}).flatMap(([table, sql]) => (sql === "none" ? [table] : []));
  return { ...(entry.extends !== undefined && { parent: entry.extends }), keys, dropped };
}
