import { parseArgs } from "node:util";
import { redisOf, suspensionsFile, trustRedis } from "../app/state-places.ts";
import { createLog } from "../log.ts";
import type { SuspensionsOptions } from "../orders/suspensions.ts";
import { readSettings, type Settings } from "../settings/settings.ts";
import { isFolder } from "./audit-arguments.ts";
import { operator } from "./audit-record.ts";
import { misused, type Wrong } from "./streams.ts";

/** What the commands that steer running proxies share. */
export interface Control {
  readonly user: string;
  readonly why: string;
  /** Who gives the order. */
  readonly by: string;
  readonly settings: Settings;
}

/**
 * Reads `USER --why TEXT --by NAME`, and everything else as `serve` does: the flags, variables and file that
 * name the fleet's Redis, its secret and the audit folder are the same. No database is asked.
 */
export function readControl(
  args: readonly string[],
  env: NodeJS.ProcessEnv,
  wants: { readonly user: boolean; readonly why: boolean },
): Control | Wrong {
  const own = { why: { type: "string" }, by: { type: "string" } } as const;
  const parsed = parseArgs({ args: [...args], options: own, strict: false, tokens: true });
  const mine = new Set<number>();
  const positionals: string[] = [];
  for (const [i, token] of parsed.tokens.entries()) {
    if (token.kind === "option" && (token.name === "why" || token.name === "by")) {
      mine.add(token.index);
      if (!token.inlineValue) mine.add(token.index + 1);
    }
    const before = parsed.tokens[i - 1];
    // The value of a flag of serve looks like a word of its own here.
    const isValue = before?.kind === "option" && before.value === undefined;
    if (token.kind === "positional" && !isValue) {
      mine.add(token.index);
      positionals.push(token.value);
    }
  }
  const [user = "", ...rest] = positionals;
  if (wants.user && (user === "" || rest.length > 0)) return misused("name one user");
  if (!wants.user && user !== "") return misused(`"${user}": no user is named here`);
  const why = textOf(parsed.values.why);
  if (wants.why && why === "")
    return misused("--why: missing; give a reason (it is kept with the suspension and in the log)");
  const read = readSettings(
    args.filter((_, i) => !mine.has(i)),
    { SLUICE_UPSTREAM: "postgresql://localhost", ...env },
  );
  if (!read.ok) return misused(read.problems.join("\n"));
  return { user, why, by: textOf(parsed.values.by) || operator(), settings: read.settings };
}

function textOf(value: string | boolean | undefined): string {
  return typeof value === "string" ? value.trim() : "";
}

/** Where this command can give its order, or why nowhere. */
export async function placesOf({ settings }: Control): Promise<SuspensionsOptions | Wrong> {
  const folderIsThere = await isFolder(settings.audit);
  if (settings.redis === undefined && !folderIsThere) {
    return {
      problem: `there is no folder "${settings.audit}": name the proxy's own (--audit), or the fleet's Redis (--redis)`,
      status: 1,
    };
  }
  try {
    trustRedis(settings);
  } catch (error) {
    return { problem: error instanceof Error ? error.message : "--redis-ca cannot be read", status: 1 };
  }
  const redis = redisOf(settings);
  return {
    log: createLog({ level: "silent" }),
    ...(folderIsThere ? { file: suspensionsFile(settings) } : {}),
    ...(redis === undefined ? {} : { redis }),
  };
}
