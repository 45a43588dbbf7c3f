import { ClaimKeys } from "../keys/claim-keys.ts";
import type { Log } from "../log.ts";
import type { Metrics } from "../metrics/metrics.ts";
import type { PolicySet } from "../policy/compile.ts";
import { policiesIn } from "../policy/namespaces.ts";
import type { SignedBy } from "../policy/policy.ts";
import type { PolicyProblem } from "../policy/problems.ts";
import { Claims } from "../session/person/claims.ts";

/** How often at most a rejected claim is logged, for each reason, in milliseconds. */
const TOLD_EVERY_MS = 60_000;

/** Verifies the signed claims that name people behind applications, with the keys that policies name. */
export class ComposedClaims {
  readonly #keys = new ClaimKeys();
  readonly claims: Claims;

  constructor(metrics: Metrics, log: Log) {
    const told = new Map<string, number>();
    this.claims = new Claims({
      keyOf: (signedBy) => this.#keys.of(signedBy),
      now: Date.now,
      onRejected(reason) {
        metrics.claimRejected(reason);
        const now = performance.now();
        if (now - (told.get(reason) ?? Number.NEGATIVE_INFINITY) < TOLD_EVERY_MS) return;
        told.set(reason, now);
        log.warn({ reason }, "a claim that should name a person was rejected");
      },
    });
  }

  /**
   * Reads the keys that a policy names. Returns the problems that keep the policy from being used; keys read before
   * stay.
   */
  async problemsOf(policies: PolicySet): Promise<readonly PolicyProblem[]> {
    const found = await this.#keys.read(signersOf(policies));
    return [...found].map(([{ place }, message]) => ({
      ...{
        severity: "error",
        message,
        hint: "Name a file that the proxy may read, as seen from the policy's own.",
      },
      place: { line: 1, column: 1, ...place },
    }));
  }
}

function signersOf(policies: PolicySet): readonly SignedBy[] {
  const found = policiesIn(policies).flatMap(({ roles }) =>
    [...roles.values()].flatMap(({ signedBy }) => signedBy ?? []),
  );
  return [...new Map(found.map((one) => [`${one.kind} ${one.place.file} ${one.at}`, one])).values()];
}
