import { createHash } from "node:crypto";
import { compileCanaries } from "./compile-canaries.ts";
import { compileDocuments } from "./compile-documents.ts";
import { compileFences } from "./compile-fences.ts";
import { compilePeople } from "./compile-people.ts";
import { compileRoles } from "./compile-roles.ts";
import { carriedOf } from "./compile-searches.ts";
import { type PolicyDocument, readDocument } from "./document.ts";
import { policyFileSchema, policyFileSchemaOf } from "./format.ts";
import { compileMask, isShownByProxy } from "./masks/all.ts";
import type { ColumnClass, Place, Policy, Role, TablePolicy } from "./policy.ts";
import { at, type PolicyProblem, Problems, suggest } from "./problems.ts";
import { checkClass } from "./references.ts";
import { ROLE_RULES } from "./rules/all.ts";
import type { RoleRule } from "./rules/rule.ts";
import { parseSubject } from "./subject-path.ts";
import { writtenIn } from "./written.ts";

export interface PolicyText {
  readonly name: string;
  readonly text: string;
}

/** `control`: may do everything. `look`: may do nothing that changes anything. */
export type AdminRight = "control" | "look";

/** The policies of one folder: immutable, replaced as a whole. */
export interface PolicySet {
  readonly version: string;
  /** File names, sorted. */
  readonly files: readonly string[];
  /** The texts that the policies were compiled from. */
  readonly texts: readonly PolicyText[];
  /** Databases with a file of their own. */
  readonly databases: readonly string[];
  /** Files that apply to all databases. */
  readonly generalFiles: ReadonlySet<string>;
  forDatabase(name: string): Policy;
  /** What a user may do in the admin database; undefined if nothing. */
  adminRight(user: string): AdminRight | undefined;
  /** Whether any user may log in to the admin database. */
  readonly hasAdmins: boolean;
}

export type Compiled =
  | { readonly ok: true; readonly policies: PolicySet }
  | { readonly ok: false; readonly problems: readonly PolicyProblem[] };

/** Compiles the texts of policy files. Reports every problem of every file, not only the first. */
export function compilePolicies(
  files: readonly PolicyText[],
  rules: readonly RoleRule[] = ROLE_RULES,
): Compiled {
  const problems = new Problems();
  const sorted = [...files].sort((a, b) => (a.name < b.name ? -1 : 1));
  const version = versionOf(sorted);
  const schema = rules === ROLE_RULES ? policyFileSchema : policyFileSchemaOf(rules);
  const read = sorted.map((file) => readDocument(file.name, file.text, schema));
  for (const result of read) problems.add(result.problems);
  const documents = read.flatMap((result) => result.document ?? []);
  // The definitions of an unreadable file are unknown: it may define names that seem to be missing.
  const complete = documents.length === read.length;

  const general = documents.filter(({ content }) => content.database === undefined);
  const databases = [...new Set(documents.flatMap(({ content }) => content.database ?? []))];
  const policies = new Map<string, Policy>();
  if (complete) {
    for (const database of databases) {
      const own = documents.filter(({ content }) => content.database === database);
      policies.set(database, compile([...general, ...own], version, problems, rules));
    }
  }
  // Without general files, a database that has no file gets a policy without roles, which lets no one in.
  const fallback = compile(complete ? general : [], version, problems, rules);
  const admins = compileAdmins(documents, problems);
  if (problems.list.length > 0) return { ok: false, problems: problems.list };
  return {
    ok: true,
    policies: {
      version,
      files: sorted.map(({ name }) => name),
      texts: sorted,
      databases,
      generalFiles: new Set(general.map(({ name }) => name)),
      forDatabase: (name) => policies.get(name) ?? fallback,
      adminRight: (user) => admins.get(user),
      hasAdmins: admins.size > 0,
    },
  };
}

/** A version: equal for equal contents under equal names. */
export function versionOf(files: readonly PolicyText[]): string {
  const hash = createHash("sha256");
  for (const { name, text } of files) hash.update(JSON.stringify([name, text]));
  return hash.digest("hex").slice(0, 12);
}

function compile(
  documents: readonly PolicyDocument[],
  version: string,
  problems: Problems,
  rules: readonly RoleRule[],
): Policy {
  const classes = compileClasses(documents, problems);
  const tables = compileTables(documents, classes, problems);
  const roles = compileRoles(documents, classes, problems, rules);
  const setting = <K extends Single>(key: K) => single(documents, key, problems);
  const canaries = compileCanaries(documents, tables, problems);
  const unknown = setting("unknown_users");
  const tokenCanary = setting("token_canary")?.value;
  checkStored(classes, roles, tokenCanary, problems);
  const policy: Policy = {
    version,
    mode: setting("mode")?.value ?? "enforce",
    unclassified: setting("unclassified")?.value ?? "show",
    classes,
    tables,
    roles,
    people: compilePeople(documents, roles, problems),
    fences: compileFences(documents, problems),
    ...(tokenCanary !== undefined && { tokenCanary }),
    written: writtenIn(documents),
    ...((canaries.groups.size > 0 || canaries.marked.length > 0) && {
      canaries: { ...canaries, action: setting("on_canary")?.value ?? "alert" },
    }),
  };
  if (unknown === undefined || unknown.value === "refuse") return policy;
  const role = roles.get(unknown.value);
  if (role !== undefined) return { ...policy, unknownUsers: role };
  if (!documents.some((document) => document.written("roles").includes(unknown.value))) {
    const hint = suggest(unknown.value, ["refuse", ...roles.keys()], "refuse, or the name of a role.");
    problems.error(unknown.place, `there is no role "${unknown.value}"`, hint);
  }
  return policy;
}

/** Admins see and control the whole proxy, so a file for one database may not name them. */
function compileAdmins(documents: readonly PolicyDocument[], problems: Problems): Map<string, AdminRight> {
  const rights = new Map<string, AdminRight>();
  for (const document of documents) {
    for (const [key, right] of [
      ["admins", "control"],
      ["auditors", "look"],
    ] as const) {
      const names = document.content[key];
      if (names === undefined) continue;
      if (document.content.database !== undefined) {
        const hint = 'Move it to a file without "database:".';
        problems.error(document.placeOfKey([key]), `"${key}" is for all databases`, hint);
      }
      names.forEach((user, i) => {
        const earlier = rights.get(user) ?? right;
        if (earlier !== right) {
          const hint = "Name the user under one of the two.";
          problems.error(document.placeOf([key, i]), `"${user}" is under "admins" and "auditors"`, hint);
        }
        rights.set(user, right);
      });
    }
  }
  return rights;
}

type Single = "mode" | "unclassified" | "unknown_users" | "on_canary" | "token_canary";

/** A setting of the whole policy. Several files may set it, but only to the same value. */
function single<K extends Single>(
  documents: readonly PolicyDocument[],
  key: K,
  problems: Problems,
): { readonly value: NonNullable<PolicyDocument["content"][K]>; readonly place: Place } | undefined {
  let first: { value: NonNullable<PolicyDocument["content"][K]>; place: Place } | undefined;
  for (const document of documents) {
    const value = document.content[key];
    if (value === undefined) continue;
    const place = document.placeOf([key]);
    if (first === undefined) first = { value, place };
    else if (first.value !== value) {
      problems.error(
        place,
        `"${key}" is ${first.value} in ${first.place.file} and ${value} here`,
        "Set it once.",
      );
    }
  }
  return first;
}

function compileClasses(documents: readonly PolicyDocument[], problems: Problems): Map<string, ColumnClass> {
  const classes = new Map<string, ColumnClass>();
  for (const document of documents) {
    for (const [name, entry] of Object.entries(document.content.classes ?? {})) {
      const place = document.placeOfKey(["classes", name]);
      const earlier = classes.get(name);
      if (earlier !== undefined) {
        problems.error(
          place,
          `class "${name}" is defined twice`,
          `It is defined at ${at(earlier.place)} already.`,
        );
        continue;
      }
      const mask = compileMask(entry.mask, document.placeOf(["classes", name, "mask"]), problems);
      if (entry.joinable !== undefined && entry.stored === undefined) {
        const hint = "Add stored: token, or leave joinable out.";
        problems.error(place, `class "${name}" has joinable without stored`, hint);
      }
      const searches = carriedOf(entry.searches);
      if (entry.searches !== undefined && entry.stored !== "token")
        problems.error(
          document.placeOfKey(["classes", name, "searches"]),
          `class "${name}" has searches without stored: token`,
          entry.stored === undefined
            ? "Add stored: token, or leave searches out."
            : `Tokens of stored: ${entry.stored} carry nothing else. Make it stored: token, or leave searches out.`,
        );
      classes.set(name, {
        ...{ name, mask, cost: entry.cost ?? 1, place },
        ...(entry.stored && { stored: { joinable: entry.joinable === true, form: entry.stored, searches } }),
      });
    }
  }
  return classes;
}

/** What cannot be kept of classes whose values the database does not have. */
function checkStored(
  classes: ReadonlyMap<string, ColumnClass>,
  roles: ReadonlyMap<string, Role>,
  canary: string | undefined,
  problems: Problems,
): void {
  for (const { name, mask, stored, place } of classes.values()) {
    if (stored === undefined) continue;
    if (canary === undefined)
      problems.error(
        place,
        `class "${name}" is stored as tokens, and the policy has no token_canary`,
        'Add the line that "sluice tokens canary" prints, on the top level.',
      );
    if (!isShownByProxy(mask))
      problems.error(
        place,
        `the mask of class "${name}" is computed by the database, which has only tokens of it`,
        "Give the class another mask; all masks of text but { sql: … } will do.",
      );
  }
  for (const { name, place, sees } of roles.values())
    for (const [className, sight] of sees === "all" ? [] : sees)
      if (sight !== "always" && classes.get(className)?.stored !== undefined)
        problems.error(
          place,
          `role "${name}" sees class "${className}" with a condition, and the class is stored as tokens`,
          "Let the role see the class always or not at all.",
        );
}

function compileSubject(
  text: string | undefined,
  place: Place,
  problems: Problems,
): Pick<TablePolicy, "subject" | "path" | "subjectPlace"> {
  if (text === undefined) return {};
  const parsed = parseSubject(text);
  if (parsed !== undefined)
    return {
      subject: parsed.column,
      subjectPlace: place,
      ...(parsed.steps.length > 0 && { path: parsed.steps }),
    };
  problems.error(
    place,
    `"${text}" is no subject`,
    "A column, or a path as in ticket_id -> public.tickets.customer_id.",
  );
  return {};
}

function compileTables(
  documents: readonly PolicyDocument[],
  classes: ReadonlyMap<string, ColumnClass>,
  problems: Problems,
): Map<string, TablePolicy> {
  const tables = new Map<string, TablePolicy>();
  for (const document of documents) {
    for (const [name, entry] of Object.entries(document.content.tables ?? {})) {
      const path = ["tables", name];
      const place = document.placeOfKey(path);
      const earlier = tables.get(name);
      if (earlier !== undefined) {
        problems.error(
          place,
          `table ${name} is described twice`,
          `It is described at ${at(earlier.place)} already.`,
        );
        continue;
      }
      for (const [column, className] of Object.entries(entry.columns ?? {})) {
        checkClass(documents, classes, className, document.placeOf([...path, "columns", column]), problems);
      }
      tables.set(name, {
        name,
        ...compileSubject(entry.subject, document.placeOf([...path, "subject"]), problems),
        columns: new Map(Object.entries(entry.columns ?? {})),
        documents: compileDocuments(document, name, documents, classes, problems),
        ...(entry.allow_missing === true && { allowMissing: true }),
        place,
      });
    }
  }
  return tables;
}
