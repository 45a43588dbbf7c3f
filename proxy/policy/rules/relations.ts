import { z } from "zod";
import type { RelationSet, Role } from "../policy.ts";
import { suggest } from "../problems.ts";
import { none } from "../schema.ts";
import { type Database, type FactLine, roleRule } from "./rule.ts";

const HINT = "all, none, or a list as in [public.customers, crm.*].";

const pattern = z
  .string({ error: "A table as schema.table, or schema.* for all of a schema." })
  .regex(/^[^.*\s][^.*]*\.([^.*]+|\*)$/, {
    error: "A table with its schema, as in public.customers, or a whole schema, as in public.*.",
  });

const schema = z.union([z.literal("all"), none, z.array(pattern)], { error: HINT });

export const reads = roleRule("reads", {
  keys: {
    reads: {
      schema,
      about: "Tables and views that the role may read. None if left out.",
      example: ["public.customers", "public.tickets"],
      reason: "relation",
    },
  },
  compile: ({ entry }, base) => relationSet(entry.reads) ?? base ?? NOTHING,
  guardedBy: (set) => (set === "all" ? [] : ["reads"]),
  unrestricted: "all",
  againstCatalog: (role, database) => checkNames(role, role.reads, database),
  fact: { label: "Reads", lines: linesOf },
});

export const writes = roleRule("writes", {
  keys: {
    writes: {
      schema,
      about: "Tables that the role may insert into, update and delete from. None if left out.",
      example: ["public.tickets"],
      reason: "write",
    },
  },
  compile: ({ entry }, base) => relationSet(entry.writes) ?? base ?? NOTHING,
  guardedBy: (set) => (set === "all" ? [] : ["writes"]),
  unrestricted: "all",
  againstCatalog: (role, database) => checkNames(role, role.writes, database),
  fact: { label: "Writes", lines: linesOf },
});

const NOTHING: RelationSet = { tables: new Set(), schemas: new Set() };

function relationSet(entry: z.infer<typeof schema> | undefined): RelationSet | undefined {
  if (entry === undefined || entry === "all") return entry;
  if (entry === "none") return NOTHING;
  return {
    tables: new Set(entry.filter((name) => !name.endsWith(".*"))),
    schemas: new Set(entry.filter((name) => name.endsWith(".*")).map((name) => name.slice(0, -2))),
  };
}

function linesOf(set: RelationSet): readonly FactLine[] {
  if (set === "all") return [["all"]];
  return [...[...set.schemas].map((schema) => `${schema}.*`), ...set.tables].map((name) => [name]);
}

function checkNames(role: Role, set: RelationSet, { policy, catalog, report }: Database): void {
  if (set === "all") return;
  for (const name of set.tables) {
    if (catalog.relations.has(name) || policy.tables.get(name)?.allowMissing) continue;
    const hint = suggest(name, catalog.relations.keys(), "Until it is there, the grant opens nothing.");
    const what = `role "${role.name}" names ${name}, which is not in "${catalog.database}"`;
    report("warning", role.place, what, hint);
  }
  for (const schema of set.schemas) {
    if (catalog.schemas.has(schema)) continue;
    const hint = suggest(schema, catalog.schemas, "");
    const what = `role "${role.name}" names the schema "${schema}", which is not there`;
    report("warning", role.place, what, hint);
  }
}
