import { looksLikeToken, type Sealer } from "./sealed.ts";

/*
 * A token of a known text, which stands in the policy: whoever has another key finds out before a value is written
 * that nobody else could read.
 */

const TEXT = "the key of these tokens";
/** No column has this name. */
const STORAGE = { associated: "canary", form: "token", version: 0 } as const;

export function canaryToken(sealer: Sealer): string {
  const token = sealer.seal(TEXT, STORAGE);
  if (token === undefined) throw new Error("every text has a token");
  return token;
}

/** Why this key ring is not the one that the policy's tokens were made with; undefined if it is. */
export function canaryProblem(sealer: Sealer, canary: string): string | undefined {
  if (!looksLikeToken(canary)) return "it is no token";
  return sealer.open(canary, STORAGE) === TEXT
    ? undefined
    : "the key ring has no key of its version, or another one";
}
