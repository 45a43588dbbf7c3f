import { Ledger } from "../../protocol/ledger.ts";
import type { ServerLeg } from "../../protocol/server-leg.ts";
import { withoutColumns } from "../../sql/watched.ts";
import type { Frame } from "../../wire/frames.ts";
import { syncMessage } from "../../wire/frontend-messages.ts";
import { Outbox } from "../../wire/outbox.ts";
import type { Established } from "../context/established.ts";
import type { SessionParts } from "../context/parts.ts";
import { Certainty } from "../decide/certainty.ts";
import { Fencing } from "../decide/fencing.ts";
import type { Judging } from "../decide/judging.ts";
import type { Trace } from "../record/audit-recorder.ts";
import type { Judged } from "../statement/decision.ts";
import { type Named, noNames } from "../statement/prepared.ts";
import { Readers } from "./readers.ts";
import type { WatchedRequest } from "./requests.ts";

/** What the two directions of a watched session know of each other. */
export class WatchedState {
  readonly established: Established;
  readonly parts: SessionParts;
  readonly judging: Judging;
  readonly trace: Trace;
  readonly wake: () => void;
  readonly toClient = new Outbox();
  readonly leg: ServerLeg;
  readonly ledger = new Ledger<WatchedRequest>();
  readonly names: Named = noNames();
  readonly certainty = new Certainty(this.ledger);
  readonly readers: Readers;
  readonly fencing: Fencing;
  /** Relations were defined, and the catalog has not been looked at since. */
  defined = false;
  terminated = false;
  fatal = false;

  constructor(
    established: Established,
    parts: SessionParts,
    judging: Judging,
    trace: Trace,
    leg: ServerLeg,
    wake: () => void,
  ) {
    this.leg = leg;
    this.established = established;
    this.parts = parts;
    this.judging = judging;
    this.trace = trace;
    this.wake = wake;
    this.readers = new Readers(established, parts, judging);
    this.fencing = new Fencing(established, parts, judging);
  }

  send(message: Buffer | Frame, request: WatchedRequest): void {
    this.leg.send(message, request);
  }

  /** A Sync of the proxy's own; whether the client is told that the server is ready again. */
  sync(end: "hidden" | "told"): void {
    const at = performance.now();
    this.send(syncMessage, { kind: "sync", at, ...(end === "hidden" && { hidden: true }) });
  }

  /** What is answered not at all, or not by itself. */
  pass(message: Buffer | Frame): void {
    this.leg.pass(message);
  }

  /** Makes the server tell what it has answered so far. */
  flush(): void {
    if (!this.ledger.mustFlush || this.ledger.intake === "copyIn") return;
    this.leg.flush();
  }
}

/** The same text, to be sent as the client wrote it. */
export function plainly(judged: Judged): Judged {
  const verdict = withoutColumns(judged.verdict);
  return verdict === judged.verdict ? judged : { ...judged, verdict };
}
