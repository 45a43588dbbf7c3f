import { renewLogin } from "../guard/redis-logins.ts";
import { parseRedisUrl } from "../guard/redis-url.ts";
import type { Log } from "../log.ts";
import type { Settings, SettingsResult } from "../settings.ts";
import { checkTlsTowards } from "../wire/tls.ts";
import { type Targets, targetsOf } from "./compose-targets.ts";

/** What a reload may change of the settings: addresses, log-ins and TLS files towards servers, and who may log in to the console. */
export interface InForce {
  readonly targets: Targets;
  readonly consoleTokens: Settings["consoleToken"];
  readonly redis: Settings["redis"];
}

/** Reads the settings again: flags and variables are what they were, but the files that they name may say something else. */
export type ReadAgain = () => SettingsResult;

/** The settings that a reload may change, as they were last read well. */
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

  /** What is not good is told in the log, and what was in force stays. */
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
    this.#inForce = found;
  }
}

const NOT_GOOD = "the settings are not good; the last ones stay in force towards the servers";

/** What these settings say, or why that cannot work. */
export function inForceBy(settings: Settings): InForce | { readonly problems: readonly string[] } {
  const found = targetsOf(settings);
  if (!found.ok) return { problems: [found.problem] };
  const { upstream, control, databases, controls } = found.targets;
  try {
    if (settings.redis !== undefined) parseRedisUrl(settings.redis);
    for (const target of [upstream, control, ...databases.values(), ...controls.values()])
      checkTlsTowards(target);
  } catch (error) {
    return { problems: [error instanceof Error ? error.message : "a TLS file cannot be read"] };
  }
  return { targets: found.targets, consoleTokens: settings.consoleToken, redis: settings.redis };
}
