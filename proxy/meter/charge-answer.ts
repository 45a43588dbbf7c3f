import type { BudgetWindow } from "../policy/policy.ts";
import type { Spans } from "./budget-windows.ts";
import type { Grant, WindowUse } from "./meter.ts";
import { nearlyFull } from "./scopes.ts";

/** The script's reply: see `chargeScript`. */
export interface Answer {
  readonly counted: number;
  readonly stoppedBy: BudgetWindow | undefined;
  readonly used: number;
  readonly freesAt: number;
  readonly now: number;
  readonly jumped: number;
  /** Redis has lost the time that it reported before. */
  readonly beganAnew: boolean;
  readonly uses: readonly WindowUse[];
}

/** `freesAt` is in this process' own time, whatever the counters' time is. */
export function readAnswer(reply: unknown, { windows }: Spans, ownTime: number): Answer {
  const numbers = Array.isArray(reply) ? reply.map(Number) : [];
  const [counted = 0, which = 0, used = 0, wait = 0, now = 0, jumped = 0, began = 0, ...uses] = numbers;
  if (numbers.length !== 7 + windows.length || !numbers.every(Number.isFinite) || which > windows.length) {
    throw new Error("the counter script gave an answer of another form");
  }
  return {
    counted,
    stoppedBy: windows[which - 1]?.window,
    used,
    freesAt: ownTime + wait,
    now,
    jumped,
    beganAnew: began === 1,
    uses: windows.map(({ window }, i) => ({ window, used: uses[i] ?? 0 })),
  };
}

/** The grant that an answer means for a batch of `rows` rows. */
export function grantOf({ counted, stoppedBy, used, freesAt, uses }: Answer, rows: number): Grant {
  const near = nearlyFull(uses);
  if (stoppedBy !== undefined)
    return { kind: "part", rows: counted, window: stoppedBy, used, freesAt, ...near };
  if (counted !== rows) throw new Error("the counter script named no window");
  return near.near === undefined ? { kind: "all" } : { kind: "all", ...near };
}
