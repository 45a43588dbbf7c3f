import { isKnownPlace } from "../../policy/compile-fences.ts";
import type { Fence } from "../../policy/policy.ts";
import type { Statement } from "../../sql/verdict.ts";
import { type Refusal, refuse } from "../../wire/refusal.ts";
import type { Established } from "../context/established.ts";
import type { SessionParts } from "../context/parts.ts";
import type { Judged } from "../statement/decision.ts";
import type { Judging, Sight } from "./judging.ts";
import { recordedText } from "./recorded-text.ts";

/** Holds an account to the statements and places that its fence has (`fences:` of the policy). */
export class Fencing {
  readonly #established: Established;
  readonly #parts: SessionParts;
  readonly #judging: Judging;

  constructor(established: Established, parts: SessionParts, judging: Judging) {
    this.#established = established;
    this.#parts = parts;
    this.#judging = judging;
  }

  /** Why a statement is refused that the account has never run, or not from here; undefined: it is not. */
  refusal(judged: Judged): Refusal | undefined {
    const what = this.#outside(judged, "refuse");
    return what === undefined ? undefined : outside(this.#established.user, what);
  }

  /** What the role sees for this statement. */
  sight(judged: Judged): Sight {
    return this.#outside(judged, "mask") === undefined ? "own" : "masked";
  }

  #outside(judged: Judged, action: Fence["outside"]): string | undefined {
    const { user, address, application, parameters } = this.#established;
    const { policy, observes } = this.#judging;
    const fence = policy.fences.get(user);
    if (fence?.outside !== action || observes) return undefined;
    if (judged.verdict.statements.length > 0 && judged.verdict.statements.every(isAside)) return undefined;
    if (!isKnownPlace(fence, address, parameters.applicationName ?? application))
      return "comes from a place that its fence does not know";
    if (!fence.statements.has(recordedText(judged, this.#parts))) return "has never run this statement";
    return undefined;
  }
}

/** It shows nothing and leaves nothing: a driver may send other ones after an update. */
function isAside({ kind, effect }: Statement): boolean {
  return kind === "transaction" || (kind === "session" && effect?.kind !== "prepare");
}

function outside(user: string, what: string): Refusal {
  return refuse("42501", `"${user}" ${what}`, {
    hint: 'The DBA adds it to "fences:" of the policy; "sluice policy learn" writes what has run so far.',
    rule: `fences.${user}`,
  });
}
