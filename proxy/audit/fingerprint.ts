import { fingerprintSync } from "libpg-query";
import { LRUCache } from "lru-cache";
import type { Fingerprint } from "./ocsf.ts";

/** Longer texts go without: parsing them again would hold up every session. */
const LONGEST = 16 * 1024;
const REMEMBERED = 2_000;
/** The cache cannot hold undefined. */
const NONE = "";

/** The fingerprint of Postgres's own parser, which must have been loaded; about 60 µs, hence remembered. */
export function createFingerprint(): Fingerprint {
  const known = new LRUCache<string, string>({ max: REMEMBERED });
  return (statement) => {
    if (statement.length > LONGEST) return undefined;
    let fingerprint = known.get(statement);
    if (fingerprint === undefined) {
      fingerprint = compute(statement);
      known.set(statement, fingerprint);
    }
    return fingerprint || undefined;
  };
}

function compute(statement: string): string {
  try {
    return fingerprintSync(statement);
  } catch {
    // A text that normalisation has cut, or a parser that was never loaded: the event is more than its name.
    return NONE;
  }
}
