import { looksLikeToken, type Sealer } from "./sealed.ts";

/*
 * A token of a known text, which stands in the policy: whoever has another key finds out before a value is written
 * that nobody else could read.
 */

const TEXT = "the key of these tokens";
/** No column has this name. */
const ASSOCIATED = "canary";

export function canaryToken(sealer: Sealer): string {
  return sealer.seal(TEXT, ASSOCIATED);
}

/** Why this key ring is not the one that the policy's tokens were made with; undefined if it is. */
export function canaryProblem(sealer: Sealer, canary: string): string | undefined {
  if (!looksLikeToken(canary)) return "it is no token";
  return sealer.open(canary, ASSOCIATED) === TEXT
    ? undefined
    : "the key ring has no key of its version, or another one";
}
