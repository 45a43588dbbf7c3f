import { type Frame, ProtocolViolation } from "../../wire/frames.ts";
import { copyFailMessage } from "../../wire/frontend-messages.ts";
import { Frontend } from "../../wire/messages.ts";
import type { Exchange } from "./exchange.ts";
import { isHeldWrite } from "./written-rows.ts";

/**
 * What a client sends while the server reads COPY data (Postgres docs, "COPY Operations"). Whatever comes then
 * is part of the copy, so nothing of it is judged, and nothing but copy data may reach the server: by the
 * time it arrives the copy may have failed, and the server would take it for a new message.
 */
export class CopyIn {
  readonly #exchange: Exchange;
  #passing = false;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /** Always true: none of it has to wait. */
  handle(frame: Frame): boolean {
    switch (frame.type) {
      case Frontend.CopyData:
        // The server drops copy data outside a COPY (PostgresMain); the rest of a message goes the way of its first piece.
        if (frame.piece === "whole" || frame.piece === "first")
          this.#passing = this.#exchange.ledger.intake === "copyIn";
        if (this.#passing) this.#exchange.sendPlain(frame);
        return true;
      case Frontend.CopyDone:
      case Frontend.CopyFail:
        if (this.#exchange.ledger.intake === "copyIn") this.#end(this.#isSuspended(frame) ? FAILED : frame);
        return true;
      case Frontend.Terminate:
        this.#end(copyFailMessage("the client has ended the session"));
        this.#exchange.leg.terminate();
        this.#exchange.terminated = true;
        return true;
      case Frontend.Sync:
        // CopyGetData takes no notice of it; if the COPY has failed by now, its client waits for the answer.
        this.#exchange.sendSync();
        return true;
      case Frontend.Flush:
        return true;
      default:
        // In the words of CopyGetData; the server, too, is out of step then and ends the session.
        throw new ProtocolViolation(`unexpected message type 0x${hex(frame.type)} during COPY from stdin`);
    }
  }

  /** It would be committed, and its reader has been suspended since it began: it is made to fail. */
  #isSuspended({ type }: Frame): boolean {
    const { acting, ledger } = this.#exchange;
    const { head } = ledger;
    const refusal = type === Frontend.CopyDone ? acting?.suspended : undefined;
    if (refusal === undefined || (head?.kind !== "query" && head?.kind !== "execute")) return false;
    ledger.replaceHead({ ...head, refusal });
    return true;
  }

  #end(message: Buffer | Frame): void {
    const { ledger, judging } = this.#exchange;
    this.#exchange.leg.endCopy(message);
    // A simple query may hold another COPY; until it is answered, what follows could be meant for that.
    const { head } = ledger;
    if (head?.kind !== "execute") return;
    const isHeld = head.run !== undefined && isHeldWrite(judging.role, head.run.shape);
    if (isHeld || head.unrolled !== undefined || ledger.isInDoubt) {
      // Nothing that commits may follow before its tag is known, nor anything before it is known which Syncs were read.
      this.#exchange.flush();
    } else {
      ledger.barrier.lift();
    }
  }
}

/** In the server's log; the client gets other words. */
const FAILED = copyFailMessage("the person who reads is suspended");

function hex(type: number): string {
  return type.toString(16).toUpperCase().padStart(2, "0");
}
