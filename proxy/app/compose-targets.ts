import type { Settings } from "../settings/settings.ts";
import { parseUpstream, type Upstream } from "../wire/upstream.ts";

/** The addresses of the databases, and their logins. */
export interface Targets {
  readonly upstream: Upstream;
  readonly control: Upstream;
  /** Databases on other servers, by name: for sessions, and for reading the catalog. */
  readonly databases: ReadonlyMap<string, Upstream>;
  readonly controls: ReadonlyMap<string, Upstream>;
}

export type FoundTargets =
  | { readonly ok: true; readonly targets: Targets }
  | { readonly ok: false; readonly problem: string };

/** The targets of the settings, or why they cannot work. */
export function targetsOf(settings: Settings): FoundTargets {
  const upstream = parseUpstream(settings.upstream, process.env);
  const control = parseUpstream(settings.control ?? settings.upstream, process.env);
  if (!upstream.ok) return wrong(`--upstream: ${upstream.problem}`);
  if (!control.ok) return wrong(`--control: ${control.problem}`);
  if (control.upstream.user === undefined) {
    return wrong("--upstream: names no user; who reads the catalog? Name one there or in --control");
  }
  if (settings.auth === "scram" && upstream.upstream.user === undefined) {
    return wrong("--upstream: names no user; with --auth scram sessions log in as that user");
  }
  const others = otherDatabases(settings, upstream.upstream, control.upstream);
  return { ok: true, targets: { upstream: upstream.upstream, control: control.upstream, ...others } };
}

/** A URI without a user uses that of --upstream. --control's user, if there is one, reads the catalog. */
function otherDatabases(
  settings: Settings,
  upstream: Upstream,
  control: Upstream,
): Pick<Targets, "databases" | "controls"> {
  const databases = new Map<string, Upstream>();
  const controls = new Map<string, Upstream>();
  for (const [name, uri] of settings.databases ?? []) {
    const read = parseUpstream(uri, process.env);
    // The settings have been checked.
    if (!read.ok) continue;
    const own = read.upstream.user === undefined ? upstream : read.upstream;
    const reader = settings.control === undefined ? own : control;
    const target = { ...read.upstream, database: name };
    databases.set(name, { ...target, user: own.user, password: own.password });
    controls.set(name, { ...target, user: reader.user, password: reader.password });
  }
  return { databases, controls };
}

function wrong(problem: string): FoundTargets {
  return { ok: false, problem };
}
