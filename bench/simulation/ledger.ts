import type { Finding } from "../../proxy/behaviour/alert.ts";
import { DAY, type Sip } from "./organisation.ts";
import type { Outcome } from "./world.ts";

export interface Loss {
  readonly time: number;
  readonly person: number;
}

/** A statement of an honest agent that did not show all it asked for. */
interface Block {
  readonly user: string;
  readonly tightened: boolean;
  readonly slip: boolean;
}

/** What came out, and whom the guard stood in the way of. Names of thieves have a `#`. */
export class Ledger {
  readonly alerts: Finding[] = [];
  /** By user. */
  readonly losses = new Map<string, Loss[]>();
  readonly stoppedAt = new Map<string, number>();
  readonly blocked: Block[] = [];
  readonly suspended = new Set<string>();
  honestDays = 0;
  readonly #days = new Set<string>();

  enter(sip: Sip, outcome: Outcome, tightened: boolean): void {
    if (sip.user.includes("#")) {
      if (sip.stolen) this.#enterTheft(sip, outcome);
      return;
    }
    const { user, slip } = sip;
    const day = `${user} ${Math.floor(sip.time / DAY)}`;
    if (!this.#days.has(day)) {
      this.#days.add(day);
      this.honestDays += 1;
    }
    if (outcome.stopped !== "no") this.blocked.push({ user, tightened, slip });
    if (outcome.stopped === "suspended") this.suspended.add(user);
  }

  #enterTheft({ user, time, people }: Sip, { released, stopped }: Outcome): void {
    const losses = this.losses.get(user) ?? [];
    for (const person of people.slice(0, released)) losses.push({ time, person });
    this.losses.set(user, losses);
    if (stopped === "suspended" && !this.stoppedAt.has(user)) this.stoppedAt.set(user, time);
  }
}
