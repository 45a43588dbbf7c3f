import { checkReach, checkUsers } from "./check-roles.ts";
import { makeBudget, makeLimits, makeWatch } from "./compile-limits.ts";
import { checkWatched, makeWatched } from "./compile-watched.ts";
import type { PolicyDocument } from "./document.ts";
import { parseCondition } from "./expressions.ts";
import type { RoleEntry } from "./format.ts";
import { parseNetwork, type Range } from "./networks.ts";
import type {
  ColumnClass,
  Condition,
  Network,
  Place,
  RelationSet,
  Role,
  Sight,
  UserPattern,
} from "./policy.ts";
import { at, type Problems, suggest } from "./problems.ts";
import { checkClass } from "./references.ts";
import type { Context, Made, Source } from "./role-sources.ts";

const RESERVED: ReadonlySet<string> = new Set(["refuse", "all", "none"]);

/** Makes the roles, parents before children, and returns them in the order of the files. */
export function compileRoles(
  documents: readonly PolicyDocument[],
  classes: ReadonlyMap<string, ColumnClass>,
  problems: Problems,
): Map<string, Role> {
  const context: Context = { documents, classes, problems };
  const sources = collect(context);
  const made = new Map<string, Made>();
  for (const source of sources.values()) make(source, sources, made, [], context);
  const ordered = [...sources.keys()].flatMap((name) => made.get(name) ?? []);
  checkUsers(ordered, sources, problems);
  return new Map(ordered.map(({ role }) => [role.name, role]));
}

function collect({ documents, problems }: Context): Map<string, Source> {
  const sources = new Map<string, Source>();
  for (const document of documents) {
    for (const [name, entry] of Object.entries(document.content.roles ?? {})) {
      const place = document.placeOfKey(["roles", name]);
      const earlier = sources.get(name);
      if (RESERVED.has(name))
        problems.error(place, `"${name}" cannot be the name of a role`, "It has a meaning of its own.");
      else if (earlier === undefined) sources.set(name, { name, entry, document, place });
      else
        problems.error(
          place,
          `role "${name}" is defined twice`,
          `It is defined at ${at(earlier.place)} already.`,
        );
    }
  }
  return sources;
}

function make(
  source: Source,
  sources: ReadonlyMap<string, Source>,
  made: Map<string, Made>,
  children: readonly string[],
  context: Context,
): Made {
  const known = made.get(source.name);
  if (known !== undefined) return known;
  const parent = parentOf(source, sources, made, [...children, source.name], context);
  const result = makeRole(source, parent, context);
  made.set(source.name, result);
  return result;
}

function parentOf(
  source: Source,
  sources: ReadonlyMap<string, Source>,
  made: Map<string, Made>,
  chain: readonly string[],
  { documents, classes, problems }: Context,
): Made | undefined {
  const name = source.entry.extends;
  if (name === undefined) return undefined;
  const place = source.document.placeOf(["roles", source.name, "extends"]);
  if (chain.includes(name)) {
    const circle = [...chain.slice(chain.indexOf(name)), name].join(" → ");
    problems.error(place, `roles extend each other in a circle: ${circle}`, 'Take one "extends:" out.');
    return undefined;
  }
  const parent = sources.get(name);
  if (parent !== undefined) return make(parent, sources, made, chain, { documents, classes, problems });
  if (!documents.some((document) => document.written("roles").includes(name))) {
    const hint = suggest(name, sources.keys(), `Define it under "roles:".`);
    problems.error(place, `there is no role "${name}" to extend`, hint);
  }
  return undefined;
}

/**
 * A child's key replaces its parent's; `budget` and `purpose` merge by key; `users` stay with the parent. Filters
 * are kept: a child can add to its parent's `only`, and drops one by saying `none` for that table.
 */
function makeRole(source: Source, parent: Made | undefined, context: Context): Made {
  const { name, entry, place } = source;
  const base = parent?.role;
  const networks = entry.from === undefined ? undefined : makeNetworks(source, entry.from, context);
  const aggregates = entry.aggregates_only === "none" ? undefined : entry.aggregates_only;
  const aggregatesOnly =
    entry.aggregates_only === undefined
      ? base?.aggregatesOnly
      : aggregates === undefined
        ? undefined
        : {
            minGroup: aggregates.min_group,
            noise: aggregates.noise === "off" ? 0 : (aggregates.noise ?? ORDINARY_NOISE),
          };
  const role: Role = {
    name,
    place,
    users: (entry.users ?? []).map(userPattern),
    from: networks?.map(({ network }) => network) ?? base?.from ?? [],
    reads: relationSet(entry.reads) ?? base?.reads ?? NOTHING,
    writes: relationSet(entry.writes) ?? base?.writes ?? NOTHING,
    sees: entry.sees === undefined ? (base?.sees ?? new Map()) : makeSight(source, entry.sees, context),
    finds: entry.finds === undefined ? (base?.finds ?? new Set()) : makeFinds(source, entry.finds, context),
    only: makeOnly(source, base?.only ?? new Map(), context),
    purpose: new Map([...(base?.purpose ?? []), ...makeConditions(source, "purpose", context)]),
    writesOwnConditions:
      entry.writes_own_conditions === undefined
        ? (base?.writesOwnConditions ?? new Map())
        : placesOf(source, "writes_own_conditions", entry.writes_own_conditions),
    requireFilter:
      entry.require_filter === undefined ? (base?.requireFilter ?? new Set()) : new Set(entry.require_filter),
    ...(aggregatesOnly === undefined ? {} : { aggregatesOnly }),
    limits: makeLimits(entry, base?.limits),
    budget: makeBudget(source, base?.budget ?? [], context),
    ...makeWatch(entry, base),
    ...makeWatched(source, base, context),
    calls: entry.calls === undefined ? (base?.calls ?? new Map()) : callsOf(entry.calls),
  };
  const { document } = source;
  const lost = (key: "reads" | "writes" | "extends") =>
    entry[key] === undefined && document.has(["roles", name, key]);
  const orphan = entry.extends !== undefined && parent === undefined;
  const uncertain =
    lost("reads") || lost("writes") || lost("extends") || orphan || (parent?.uncertain ?? false);
  if (!uncertain) {
    checkReach(source, role, context);
    checkWatched(source, role, context);
  }
  return {
    uncertain,
    role,
    ranges: networks?.map(({ range }) => range) ?? parent?.ranges ?? [],
  };
}

/** A count of people is off by four at most, and one person more changes it one time in five: see docs/aggregates.md. */
const ORDINARY_NOISE = 5;

const NOTHING: RelationSet = { tables: new Set(), schemas: new Set() };

function relationSet(entry: RoleEntry["reads"]): RelationSet | undefined {
  if (entry === undefined || entry === "all") return entry;
  if (entry === "none") return NOTHING;
  return {
    tables: new Set(entry.filter((name) => !name.endsWith(".*"))),
    schemas: new Set(entry.filter((name) => name.endsWith(".*")).map((name) => name.slice(0, -2))),
  };
}

function userPattern(text: string): UserPattern {
  return { text, exact: !/[*?]/.test(text) };
}

function makeNetworks(
  { name, document }: Source,
  entries: readonly string[],
  { problems }: Context,
): readonly { network: Network; range: Range }[] {
  // An empty list would mean "from anywhere" to the code, and "from nowhere" to the reader.
  if (entries.length === 0) {
    const place = document.placeOf(["roles", name, "from"]);
    problems.error(place, "an empty list of networks", "Name the networks, or 0.0.0.0/0 and ::/0 for all.");
  }
  return entries.flatMap((text, i) => {
    const parsed = parseNetwork(text);
    if (parsed.ok) return [parsed];
    problems.error(document.placeOf(["roles", name, "from", i]), parsed.problem, parsed.hint);
    return [];
  });
}

function makeSight(
  { name, document }: Source,
  entry: NonNullable<RoleEntry["sees"]>,
  context: Context,
): Sight {
  if (entry === "all") return "all";
  const sight = new Map<string, "always" | Condition>();
  if (entry === "none") return sight;
  entry.forEach((item, i) => {
    const path = ["roles", name, "sees", i];
    const pairs: readonly [string, { when: string } | undefined][] =
      typeof item === "string" ? [[item, undefined]] : Object.entries(item);
    for (const [className, condition] of pairs) {
      const place = document.placeOf(path);
      checkClass(context.documents, context.classes, className, place, context.problems);
      if (sight.has(className)) {
        context.problems.error(
          place,
          `class "${className}" is in "sees" twice`,
          "Name it once; join conditions with OR.",
        );
      }
      const when =
        condition === undefined
          ? "always"
          : makeCondition(condition.when, document.placeOf([...path, className, "when"]), context);
      sight.set(className, when ?? { sql: "false", place });
    }
  });
  return sight;
}

function makeFinds(
  { name, document }: Source,
  entry: NonNullable<RoleEntry["finds"]>,
  { documents, classes, problems }: Context,
): Role["finds"] {
  if (entry === "all") return "all";
  if (entry === "none") return new Set();
  entry.forEach((className, i) => {
    checkClass(documents, classes, className, document.placeOf(["roles", name, "finds", i]), problems);
  });
  return new Set(entry);
}

/** The parent's filters and the role's own: where both have one for a table, both must hold. */
function makeOnly(source: Source, base: Role["only"], context: Context): Role["only"] {
  const only = new Map(base);
  for (const [table, sql] of Object.entries(source.entry.only ?? {}))
    if (sql === NO_FILTER) only.delete(table);
  for (const [table, own] of makeConditions(source, "only", context)) {
    const kept = only.get(table);
    only.set(table, kept === undefined || kept.sql === own.sql ? own : bothOf(kept, own));
  }
  return only;
}

/** `only: { public.tickets: none }`. A boolean column of that name can be written as `(none)`. */
const NO_FILTER = "none";

function bothOf(kept: Condition, own: Condition): Condition {
  return { sql: `(${kept.sql}) AND (${own.sql})`, place: own.place };
}

function makeConditions(
  { name, entry, document }: Source,
  key: "only" | "purpose",
  context: Context,
): readonly (readonly [string, Condition])[] {
  return Object.entries(entry[key] ?? {}).flatMap(([table, sql]) => {
    if (key === "only" && sql === NO_FILTER) return [];
    const condition = makeCondition(sql, document.placeOf(["roles", name, key, table]), context);
    return condition === undefined ? [] : [[table, condition] as const];
  });
}

function makeCondition(sql: string, place: Place, { problems }: Context): Condition | undefined {
  const parsed = parseCondition(sql);
  if (parsed.ok) return { sql: parsed.sql, place };
  problems.error(place, `condition: ${parsed.problem}`, parsed.hint);
  return undefined;
}

function placesOf(
  { name, document }: Source,
  key: "writes_own_conditions",
  entries: readonly string[],
): ReadonlyMap<string, Place> {
  return new Map(entries.map((text, i) => [text, document.placeOf(["roles", name, key, i])]));
}

/** A name alone: what the function returns stays hidden. */
function callsOf(entries: NonNullable<RoleEntry["calls"]>): ReadonlyMap<string, "hidden" | "shown"> {
  const calls = new Map<string, "hidden" | "shown">();
  for (const entry of entries) {
    if (typeof entry === "string") calls.set(entry, "hidden");
    else for (const [name, result] of Object.entries(entry)) calls.set(name, result);
  }
  return calls;
}
