import type { Ledger } from "../protocol/ledger.ts";
import { isUnasked } from "../protocol/requests.ts";
import type { LegUser, ServerLeg } from "../protocol/server-leg.ts";
import { decodeReadyForQuery } from "../wire/backend-messages.ts";
import { type FrameReader, ProtocolViolation } from "../wire/frames.ts";
import { Backend, isRow } from "../wire/messages.ts";
import type { Tenancy } from "./tenancy.ts";

/** For so long what a client has asked for before it left may take. */
const FAREWELL_MS = 2_000;

/** Takes the answers to a client that has left: what it has asked for is done to its end. */
export class Unheard implements LegUser {
  readonly #tenancy: Tenancy;
  readonly #leg: Pick<ServerLeg, "next" | "frame" | "write">;
  readonly #onFault: (error: unknown) => void;
  #limit: NodeJS.Timeout | undefined;

  constructor(
    tenancy: Tenancy,
    leg: Pick<ServerLeg, "next" | "frame" | "write">,
    onFault: (error: unknown) => void,
  ) {
    this.#tenancy = tenancy;
    this.#leg = leg;
    this.#onFault = onFault;
  }

  begin(): void {
    this.#limit = setTimeout(() => this.#tenancy.leave(), FAREWELL_MS).unref();
    this.#tenancy.lease.flow(true);
    this.wake();
  }

  arrived(): true {
    this.wake();
    return true;
  }

  mayStream(type: number): boolean {
    return isRow(type);
  }

  wake(): void {
    const tenancy = this.#tenancy;
    if (tenancy.connection === undefined && tenancy.isOver) return;
    try {
      while (this.#leg.next()) take(tenancy.ledger, this.#leg.frame);
    } catch (error) {
      if (!(error instanceof ProtocolViolation)) this.#onFault(error);
      tenancy.leave();
    }
    this.#leg.write();
    if (tenancy.connection !== undefined) return;
    clearTimeout(this.#limit);
    tenancy.leave();
  }
}

function take(ledger: Ledger, frame: FrameReader): void {
  if (frame.piece === "middle" || frame.piece === "last" || isUnasked(frame.type)) return;
  switch (frame.type) {
    case Backend.ErrorResponse:
      ledger.failed();
      break;
    case Backend.ReadyForQuery:
      ledger.ready(decodeReadyForQuery(frame));
      break;
    case Backend.CopyInResponse:
      throw new ProtocolViolation("the client of a COPY has left");
    default:
      ledger.expect(frame.type);
      ledger.answered(frame.type);
  }
}
