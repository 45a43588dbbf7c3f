import { renewLogin, trust } from "../fleet/redis-logins.ts";
import { parseRedisUrl } from "../fleet/redis-url.ts";
import type { Log } from "../log.ts";
import type { Settings, SettingsResult } from "../settings/settings.ts";
import { checkTlsTowards } from "../wire/tls.ts";
import { type Targets, targetsOf } from "./compose-targets.ts";
import { redisCaOf } from "./state-places.ts";

/**
 * The settings that a reload may change: addresses, logins and TLS files for servers and Redis, and the tokens of the
 * console.
 */
export interface InForce {
  readonly targets: Targets;
  readonly consoleTokens: Settings["consoleToken"];
  readonly redis: Settings["redis"];
  /** The content of the file of --redis-ca (PEM). */
  readonly redisCa: string | undefined;
}

/** Reads the settings again: flags and variables are unchanged, but the files that they name may have changed. */
export type ReadAgain = () => SettingsResult;

/** The settings that a reload may change, as last read successfully. */
export class Reloaded {
  #inForce: InForce;
  readonly #readAgain: ReadAgain | undefined;
  readonly #log: Log;

  constructor(inForce: InForce, readAgain: ReadAgain | undefined, log: Log) {
    this.#inForce = inForce;
    this.#readAgain = readAgain;
    this.#log = log;
  }

  get current(): InForce {
    return this.#inForce;
  }

  /** Invalid settings are logged, and the previous ones stay in force. */
  reload(): void {
    const read = this.#readAgain?.();
    if (read === undefined) return;
    const found = read.ok ? inForceBy(read.settings) : { problems: read.problems };
    if ("problems" in found) this.#log.error({ problems: found.problems }, NOT_GOOD);
    else this.#adopt(found);
  }

  #adopt(found: InForce): void {
    const before = this.#inForce.redis;
    if (found.redis !== undefined && found.redis !== before && !renewLogin(parseRedisUrl(found.redis)))
      this.#log.warn("--redis names another place: that needs a restart, and the last one stays in force");
    else if (found.redis !== undefined) trust(parseRedisUrl(found.redis), found.redisCa);
    this.#inForce = found;
  }
}

const NOT_GOOD = "the settings are not good; the last ones stay in force towards the servers";

/** The settings that a reload may change, or why they cannot work. */
export function inForceBy(settings: Settings): InForce | { readonly problems: readonly string[] } {
  const found = targetsOf(settings);
  if (!found.ok) return { problems: [found.problem] };
  const { upstream, control, databases, controls } = found.targets;
  let redisCa: string | undefined;
  try {
    if (settings.redis !== undefined) parseRedisUrl(settings.redis);
    redisCa = redisCaOf(settings);
    for (const target of [upstream, control, ...databases.values(), ...controls.values()])
      checkTlsTowards(target);
  } catch (error) {
    return { problems: [error instanceof Error ? error.message : "a TLS file cannot be read"] };
  }
  return { targets: found.targets, consoleTokens: settings.consoleToken, redis: settings.redis, redisCa };
}
