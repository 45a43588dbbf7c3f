import { errors, type JWTVerifyOptions, type JWTVerifyResult, jwtVerify } from "jose";
import { LRUCache } from "lru-cache";
import type { ClaimKey } from "../../keys/claim-keys.ts";
import type { ClaimRejection } from "../../metrics/labels.ts";
import type { SignedBy } from "../../policy/policy.ts";

/** Who is named by a claim that was verified. */
export interface Claim {
  readonly person: string;
  /** When it stops naming anyone (Unix time, milliseconds). */
  readonly until: number;
  readonly nonce: string | undefined;
  readonly payload: Readonly<Record<string, unknown>>;
}

export type Rejection = ClaimRejection;

export interface ClaimsOptions {
  /** Undefined: no keys could ever be read. */
  readonly keyOf: (signedBy: SignedBy) => ClaimKey | undefined;
  /** Unix time in milliseconds. */
  readonly now: () => number;
  readonly onRejected: (reason: Rejection) => void;
}

/** A token of an identity provider has some hundred bytes to 2 kB. */
const LONGEST_TOKEN = 4 * 1024;
/** A claim that is valid for longer is as good as a password: it names nobody. */
const LONGEST_VALIDITY_MS = 86_400_000;
/** So far the clocks of those who sign may be off; RFC 7519 (section 4.1.4) has "no more than a few minutes". */
const CLOCK_TOLERANCE_MS = 60_000;
/** What was rejected is looked at again after so long: keys may have come. */
const REJECTED_MS = 10_000;
/** What was accepted is verified again after so long: a key behind a URL may have been withdrawn. */
const ACCEPTED_MS = 600_000;
const MAXIMUM_BYTES = 8 * 1024 * 1024;

/** With other algorithms, anyone who has the public key, or no key at all, could sign (RFC 8725, section 3.1). */
const ALGORITHMS: Readonly<Record<SignedBy["kind"], string[]>> = {
  jwks: ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"],
  secret: ["HS256", "HS384", "HS512"],
};

interface Checking {
  readonly wakes: Set<() => void>;
}

type TokenStatus = Claim | Rejection | Checking;

/** What is known of tokens, by the key that verified them. */
interface Verified {
  readonly key: ClaimKey | undefined;
  readonly tokens: LRUCache<string, TokenStatus>;
}

/** Verifies the tokens by which applications name people, each once. */
export class Claims {
  readonly #options: ClaimsOptions;
  /** By who must have signed: another object after each load of the policy. */
  readonly #known = new WeakMap<SignedBy, Verified>();

  constructor(options: ClaimsOptions) {
    this.#options = options;
  }

  /** Whether it is known what the token says; otherwise `wake` is called when it is. */
  isChecked(token: string, signedBy: SignedBy, wake: () => void): boolean {
    const known = this.#of(signedBy).get(nameOf(token)) ?? this.#check(token, signedBy);
    if (typeof known === "string" || !("wakes" in known)) return true;
    known.wakes.add(wake);
    return false;
  }

  /** The person that the token names now, if any. */
  named(token: string, signedBy: SignedBy): Claim | undefined {
    const known = this.#of(signedBy).get(nameOf(token));
    if (known === undefined || typeof known === "string" || "wakes" in known) return undefined;
    return known.until > this.#options.now() ? known : undefined;
  }

  /** When keys are read again, what the old ones verified is forgotten: one of them may have been withdrawn. */
  #of(signedBy: SignedBy): LRUCache<string, TokenStatus> {
    const key = this.#options.keyOf(signedBy);
    let verified = this.#known.get(signedBy);
    if (verified === undefined || verified.key !== key) {
      verified = { key, tokens: tokenCache() };
      this.#known.set(signedBy, verified);
    }
    return verified.tokens;
  }

  #check(token: string, signedBy: SignedBy): TokenStatus {
    const known = this.#of(signedBy);
    const checking: Checking = { wakes: new Set() };
    const name = nameOf(token);
    known.set(name, checking);
    void this.#verify(token, signedBy).then((found) => {
      known.set(name, found, { ttl: typeof found === "string" ? REJECTED_MS : ACCEPTED_MS });
      if (typeof found === "string") this.#options.onRejected(found);
      for (const wake of checking.wakes) wake();
    });
    return checking;
  }

  /** Never rejects. */
  async #verify(token: string, signedBy: SignedBy): Promise<Claim | Rejection> {
    const key = this.#options.keyOf(signedBy);
    if (key === undefined) return "keys";
    if (token.length > LONGEST_TOKEN) return "long";
    const now = this.#options.now();
    try {
      return claimIn(await verified(token, key, signedBy, new Date(now)), signedBy, now);
    } catch (error) {
      return rejectionOf(error);
    }
  }
}

/** What is too long to be verified is not kept either: it would push out the tokens of others, or find no room at all. */
function nameOf(token: string): string {
  // No token has a blank in it.
  return token.length > LONGEST_TOKEN ? `${token.slice(0, 64)} ${token.length}` : token;
}

function tokenCache(): LRUCache<string, TokenStatus> {
  return new LRUCache({ maxSize: MAXIMUM_BYTES, sizeCalculation: (_, token) => 200 + token.length });
}

function verified(
  token: string,
  key: ClaimKey,
  signedBy: SignedBy,
  currentDate: Date,
): Promise<JWTVerifyResult> {
  const { kind, claim, issuer, audience } = signedBy;
  const options: JWTVerifyOptions = {
    ...{ algorithms: ALGORITHMS[kind], requiredClaims: ["exp", claim], currentDate },
    clockTolerance: CLOCK_TOLERANCE_MS / 1000,
    ...(issuer !== undefined && { issuer }),
    ...(audience !== undefined && { audience }),
  };
  // The overloads of jose tell functions from keys.
  return typeof key === "function"
    ? jwtVerify(token, key, options).catch((error) => byOneOf(error, token, options))
    : jwtVerify(token, key, options);
}

/** A token need not say which key signed it: of several that may have, each is tried (RFC 7515, appendix D). */
async function byOneOf(error: unknown, token: string, options: JWTVerifyOptions): Promise<JWTVerifyResult> {
  if (!(error instanceof errors.JWKSMultipleMatchingKeys)) throw error;
  for await (const key of error) {
    try {
      return await jwtVerify(token, key, options);
    } catch (reason) {
      if (!(reason instanceof errors.JWSSignatureVerificationFailed)) throw reason;
    }
  }
  throw new errors.JWSSignatureVerificationFailed();
}

function claimIn({ payload }: JWTVerifyResult, { claim }: SignedBy, now: number): Claim | Rejection {
  const { [claim]: person, nonce } = payload;
  const expires = (payload.exp ?? 0) * 1000;
  if (expires - now > LONGEST_VALIDITY_MS + CLOCK_TOLERANCE_MS) return "long";
  // Of numbers that JSON's reader rounds, two people would be one.
  if (typeof person !== "string" && !Number.isSafeInteger(person)) return "claims";
  return {
    person: String(person),
    until: expires + CLOCK_TOLERANCE_MS,
    nonce: typeof nonce === "string" ? nonce : undefined,
    payload,
  };
}

function rejectionOf(error: unknown): Rejection {
  if (error instanceof errors.JWTExpired) return "expired";
  if (error instanceof errors.JWTClaimValidationFailed) return "claims";
  if (error instanceof errors.JWSSignatureVerificationFailed || error instanceof errors.JWKSNoMatchingKey)
    return "signature";
  if (error instanceof errors.JOSEAlgNotAllowed) return "signature";
  if (error instanceof errors.JWSInvalid || error instanceof errors.JWTInvalid) return "malformed";
  return "keys";
}
