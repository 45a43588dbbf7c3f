import { Ledger } from "../../protocol/ledger.ts";
import type { Request } from "../../protocol/requests.ts";
import type { ServerLeg } from "../../protocol/server-leg.ts";
import { Outbox } from "../../wire/outbox.ts";
import type { Established } from "../context/established.ts";
import type { SessionParts } from "../context/parts.ts";
import { Fencing } from "../decide/fencing.ts";
import type { Judging } from "../decide/judging.ts";
import type { Trace } from "../record/audit-recorder.ts";
import { type Named, noNames } from "../statement/prepared.ts";
import { Uncommitted } from "./uncommitted.ts";

/** What the two directions of a session whose statements are judged know of each other. */
export class SessionState<R extends Request> {
  readonly established: Established;
  readonly parts: SessionParts;
  readonly judging: Judging;
  readonly trace: Trace;
  readonly leg: ServerLeg;
  /** Tries again what had to wait. */
  readonly wake: () => void;
  readonly toClient = new Outbox();
  readonly ledger = new Ledger<R>();
  readonly names: Named = noNames();
  readonly fencing: Fencing;
  readonly uncommitted: Uncommitted;
  /** The client has said that it ends the session. */
  terminated = false;
  /** The server has announced the end of the session. */
  fatal = false;

  constructor(
    established: Established,
    parts: SessionParts,
    judging: Judging,
    trace: Trace,
    leg: ServerLeg,
    wake: () => void,
  ) {
    this.established = established;
    this.parts = parts;
    this.judging = judging;
    this.trace = trace;
    this.leg = leg;
    this.wake = wake;
    this.uncommitted = new Uncommitted(parts.suspended, this.ledger);
    this.fencing = new Fencing(established, parts, judging);
  }
}
