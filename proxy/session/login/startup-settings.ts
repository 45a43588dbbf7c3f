import { encodingName, foldAscii, namesUtf8, splitNames } from "../../pg/setting-text.ts";
import type { Role } from "../../policy/policy.ts";
import { isTemporarySchema, mayChangeSetting, namesPeople } from "../../sql/session-settings.ts";
import { refuseSession } from "../../wire/refusal.ts";
import { asksReplication, type Startup } from "../../wire/startup.ts";
import { LoginEnd } from "./login-end.ts";

/** Who logs in where, and with which settings, as the startup packet says: nothing of it is proved yet. */
export interface Claim {
  readonly user: string;
  readonly database: string;
  readonly application: string;
  /** Settings by name in lower case; those of `options` are among them. */
  readonly settings: ReadonlyMap<string, string>;
}

/** Sets who the session is for the database: the policy would judge one user, and another would read. */
const IDENTITY = new Set(["role", "session_authorization"]);
/** Settings under this prefix are ours: what they hold must not come from a client. */
const OWN_PREFIX = "sluice.";

/** What the text of a guarded session's statements is read by: decided by the proxy, not by the client. */
export const PINNED: ReadonlyMap<string, string> = new Map([
  ["client_encoding", "UTF8"],
  ["standard_conforming_strings", "on"],
]);

/** Reads a startup packet's parameters. Throws a `LoginEnd` for what no client may ask for. */
export function readClaim(startup: Startup): Claim {
  if (asksReplication(startup)) {
    throw refused("0A000", "replication connections are not served", {
      hint: "Connect to the database itself: a replication stream holds every row, and cannot be guarded.",
    });
  }
  const given = startup.parameters;
  const user = given.get("user") ?? "";
  const settings = splitOptions(given.get("options") ?? "");
  for (const [name, value] of given) {
    // Postgres takes a setting's own parameter after those of `options` (process_startup_options).
    if (!["user", "database", "replication", "options"].includes(name)) settings.set(name, value);
  }
  for (const name of settings.keys()) refuseIdentity(name);
  return {
    user,
    // ProcessStartupPacket of tcop/backend_startup.c: the database is named after the user, unless said.
    database: given.get("database") || user,
    application: settings.get("application_name") ?? "",
    settings,
  };
}

/** The settings of a guarded session: only what changes nothing about what is read, and the pins. */
export function guardedSettings(claim: Claim, role?: Role): ReadonlyMap<string, string> {
  const settings = new Map<string, string>();
  for (const [name, value] of claim.settings) {
    refuseUnpinned(name, value, "for this role");
    const isName = role !== undefined && namesPeople(role, name);
    if (!PINNED.has(name) && !isName && !mayChangeSetting(name, valuesOf(name, value))) {
      throw refused("42501", `this role may not set parameter "${name}" at login`, {
        hint: "Leave it out of the connection string; a role that sees all may set it.",
      });
    }
    settings.set(name, value);
  }
  for (const [name, value] of PINNED) settings.set(name, value);
  return settings;
}

/** Settings of a session whose server connection is one of many: text is read alike on all of them. */
export function pooledSettings(claim: Claim): ReadonlyMap<string, string> {
  const settings = new Map<string, string>();
  for (const [name, value] of claim.settings) {
    refuseUnpinned(name, value, "with --pool transaction");
    if (name === "search_path" && valuesOf(name, value).some(isTemporarySchema)) {
      throw refused("42501", "pg_temp in search_path is not possible with --pool transaction", {
        hint: "Temporary tables live in one transaction here: create them with ON COMMIT DROP.",
      });
    }
    settings.set(name, value);
  }
  for (const [name, value] of PINNED) settings.set(name, value);
  return settings;
}

function refuseUnpinned(name: string, value: string, where: string): void {
  // SQL_ASCII is what psql asks for in the C locale; it means bytes as they are, which for a UTF8 database is UTF8.
  if (name === "client_encoding" && !namesUtf8(value) && encodingName(value) !== "sqlascii") {
    throw refused("22023", `client_encoding must be UTF8 ${where}`, {
      hint: "Set PGCLIENTENCODING=UTF8, or client_encoding=UTF8 in the connection string.",
    });
  }
  if (name === "standard_conforming_strings" && !mayChangeSetting(name, [value])) {
    throw refused("22023", `standard_conforming_strings must be on ${where}`);
  }
}

/** A setting's value as the elements that SET would have it in; one that is not a list is its only element. */
function valuesOf(name: string, value: string): readonly string[] {
  if (name !== "search_path") return [value];
  const schemas = splitNames(value);
  if (schemas === undefined) throw refused("22023", 'invalid value for parameter "search_path"');
  return schemas;
}

/**
 * The settings in `options`, the server's command line. Only the forms that name a setting are taken, and
 * they travel on as parameters of their own: nobody has to split this text a second time and perhaps
 * differently. (`-e` and its like are settings too, but a bundle such as `-ec role=…` must not pass.)
 */
function splitOptions(options: string): Map<string, string> {
  const settings = new Map<string, string>();
  const words = splitWords(options);
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    const assignment = word === "-c" ? words.shift() : /^(?:-c|--)(.+)$/s.exec(word)?.[1];
    const match = /^([^=]+)=(.*)$/s.exec(assignment ?? "");
    if (!match?.[1]) {
      throw refused("42501", 'startup parameter "options" holds more than settings', {
        hint: "Write each as -c name=value.",
      });
    }
    // ParseLongOption of utils/misc/guc.c: a dash in a name means an underscore.
    settings.set(foldAscii(match[1].replaceAll("-", "_")), match[2] ?? "");
  }
  return settings;
}

/** pg_split_opts of utils/init/postinit.c: blanks divide, a backslash takes the next character as it is. */
function splitWords(options: string): string[] {
  return [...options.matchAll(/(?:\\.|[^\\ \t\n\v\f\r])+/gs)].map(([word]) => word.replace(/\\(.)/gs, "$1"));
}

function refuseIdentity(name: string): void {
  if (IDENTITY.has(name)) {
    throw refused("42501", `parameter "${name}" may not be set at login`, {
      hint: "The policy applies to the user who logs in. Connect as the user whose rights you want.",
    });
  }
  if (name.startsWith(OWN_PREFIX)) {
    throw refused("42501", `parameter "${name}" is set by the proxy only`);
  }
}

function refused(
  sqlstate: "0A000" | "22023" | "42501",
  message: string,
  fields: { readonly hint?: string } = {},
): LoginEnd {
  return LoginEnd.refused("settings", refuseSession(sqlstate, message, fields));
}
