import { checkActing } from "./acting.ts";
import { checkWatched } from "./check-watched.ts";
import type { PolicyDocument } from "./document.ts";
import type { ColumnClass, Role } from "./policy.ts";
import { at, type Problems, suggest } from "./problems.ts";
import type { RoleEntry } from "./rules/all.ts";
import type { Context, RoleRule, Source } from "./rules/rule.ts";
import { checkUsers } from "./rules/users.ts";

type RoleSource = Source<RoleEntry>;

interface RolesContext extends Context {
  readonly documents: readonly PolicyDocument[];
  readonly rules: readonly RoleRule[];
}

interface Made {
  readonly role: Role;
  /** A problem hides which tables the role reaches. */
  readonly uncertain: boolean;
}

const RESERVED: ReadonlySet<string> = new Set(["refuse", "all", "none"]);

/** Builds the roles, parents before children, and returns them in the order of the files. */
export function compileRoles(
  documents: readonly PolicyDocument[],
  classes: ReadonlyMap<string, ColumnClass>,
  problems: Problems,
  rules: readonly RoleRule[],
): Map<string, Role> {
  const context: RolesContext = { documents, classes, problems, rules };
  const sources = collect(context);
  const made = new Map<string, Made>();
  for (const source of sources.values()) make(source, sources, made, [], context);
  const ordered = [...sources.keys()].flatMap((name) => made.get(name)?.role ?? []);
  checkUsers(ordered, sources, problems);
  const roles = new Map(ordered.map((role) => [role.name, role]));
  checkActing(
    roles,
    documents.flatMap((document) => document.written("roles")),
    problems,
  );
  return roles;
}

function collect({ documents, problems }: RolesContext): Map<string, RoleSource> {
  const sources = new Map<string, RoleSource>();
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
  source: RoleSource,
  sources: ReadonlyMap<string, RoleSource>,
  made: Map<string, Made>,
  children: readonly string[],
  context: RolesContext,
): Made {
  const known = made.get(source.name);
  if (known !== undefined) return known;
  const parent = parentOf(source, sources, made, [...children, source.name], context);
  const result = makeRole(source, parent, context);
  made.set(source.name, result);
  return result;
}

function parentOf(
  source: RoleSource,
  sources: ReadonlyMap<string, RoleSource>,
  made: Map<string, Made>,
  chain: readonly string[],
  context: RolesContext,
): Made | undefined {
  const { documents, problems } = context;
  const name = source.entry.extends;
  if (name === undefined) return undefined;
  const place = source.document.placeOf(["roles", source.name, "extends"]);
  if (chain.includes(name)) {
    const circle = [...chain.slice(chain.indexOf(name)), name].join(" → ");
    problems.error(place, `roles extend each other in a circle: ${circle}`, 'Take one "extends:" out.');
    return undefined;
  }
  const parent = sources.get(name);
  if (parent !== undefined) return make(parent, sources, made, chain, context);
  if (!documents.some((document) => document.written("roles").includes(name))) {
    const hint = suggest(name, sources.keys(), `Define it under "roles:".`);
    problems.error(place, `there is no role "${name}" to extend`, hint);
  }
  return undefined;
}

/** Builds a role: each rule takes what it needs from the file and from the parent. */
function makeRole(source: RoleSource, parent: Made | undefined, context: RolesContext): Made {
  const { name, place, entry, document } = source;
  const { rules, problems } = context;
  const made = rules.flatMap((rule): readonly (readonly [string, unknown])[] => {
    const value = rule.compile(source, parent?.role[rule.property], context);
    return value === undefined ? [] : [[rule.property, value]];
  });
  // Each property of a role has its rule: see rules/all.ts.
  const role = { name, place, ...Object.fromEntries(made) } as unknown as Role;
  const lost = (key: "reads" | "writes" | "extends") =>
    entry[key] === undefined && document.has(["roles", name, key]);
  const orphan = entry.extends !== undefined && parent === undefined;
  const uncertain =
    lost("reads") || lost("writes") || lost("extends") || orphan || (parent?.uncertain ?? false);
  if (!uncertain) {
    for (const rule of rules) rule.check?.(source, role, problems);
    checkWatched(source, role, rules, problems);
  }
  return { uncertain, role };
}
