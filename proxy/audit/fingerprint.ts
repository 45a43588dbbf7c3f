import { LRUCache } from "lru-cache";
import { fingerprint, ParserAway } from "../parser/parser.ts";
import type { Fingerprint } from "./ocsf.ts";

/** Longer texts go without: parsing them again would hold up every session. */
const LONGEST = 16 * 1024;
const REMEMBERED = 2_000;
/** The cache cannot hold undefined. */
const NONE = "";

/** The fingerprint of Postgres's own parser; about 60 µs, hence remembered. */
export function createFingerprint(): Fingerprint {
  const known = new LRUCache<string, string>({ max: REMEMBERED });
  return (statement) => {
    if (statement.length > LONGEST) return undefined;
    let found = known.get(statement);
    if (found === undefined) {
      found = compute(statement);
      if (found !== undefined) known.set(statement, found);
    }
    return found || undefined;
  };
}

/** Undefined where there is no parser just now. */
function compute(statement: string): string | undefined {
  try {
    return fingerprint(statement);
  } catch (error) {
    if (error instanceof ParserAway) return undefined;
    // A text that normalisation has cut: the event is more than its name.
    return NONE;
  }
}
