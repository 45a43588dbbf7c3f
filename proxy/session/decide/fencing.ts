import { isKnownPlace } from "../../policy/compile-fences.ts";
import { isKnownStatement, shapeKey } from "../../policy/fence-shapes.ts";
import type { Fence } from "../../policy/policy.ts";
import type { Statement, Verdict } from "../../sql/verdict.ts";
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
    if (fence?.outside !== action || observes || isBeside(judged.verdict)) return undefined;
    if (!isKnownPlace(fence, address, parameters.applicationName ?? application))
      return "comes from a place that its fence does not know";
    return isHeld(fence, judged.verdict, keyOf(judged, this.#parts)) ? undefined : NEVER_RUN;
  }
}

const NEVER_RUN = "has never run this statement";

/** The same for a statement by itself, from a place that is known; `text`: as the audit log has it. */
export function fenceRefusal(
  user: string,
  fence: Fence,
  verdict: Verdict,
  text: string,
): Refusal | undefined {
  return fence.outside === "refuse" && isOutside(fence, verdict, text) ? outside(user, NEVER_RUN) : undefined;
}

export function fenceSight(fence: Fence, verdict: Verdict, text: string): Sight {
  return fence.outside === "mask" && isOutside(fence, verdict, text) ? "masked" : "own";
}

function isOutside(fence: Fence, verdict: Verdict, text: string): boolean {
  return !isBeside(verdict) && !isHeld(fence, verdict, shapeKey(text));
}

function isHeld(fence: Fence, { statements }: Verdict, key: string): boolean {
  const relations = statements.flatMap(({ reads, writes }) => [...reads, ...writes]);
  return isKnownStatement(fence, key, relations);
}

/** Whether the fence does not apply. An empty text is included: drivers send it to check that a connection is alive. */
function isBeside({ statements }: Verdict): boolean {
  return statements.every(isAside);
}

/** A verdict's statements belong to texts of one key. */
const keys = new WeakMap<readonly Statement[], string>();

function keyOf(judged: Judged, parts: SessionParts): string {
  const { statements } = judged.verdict;
  let key = keys.get(statements);
  if (key === undefined) {
    key = shapeKey(recordedText(judged, parts));
    keys.set(statements, key);
  }
  return key;
}

/** Such a statement shows and changes nothing, and a driver may send different ones after an update. */
function isAside({ kind, effect }: Statement): boolean {
  return kind === "transaction" || (kind === "session" && effect?.kind !== "prepare");
}

function outside(user: string, what: string): Refusal {
  return refuse("42501", `"${user}" ${what}`, {
    hint: 'The DBA adds it to "fences:" of the policy; "sluice policy learn" writes what has run so far.',
    rule: `fences.${user}`,
  });
}
