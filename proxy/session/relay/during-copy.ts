import type { Ledger } from "../../protocol/ledger.ts";
import type { ServerLeg } from "../../protocol/server-leg.ts";
import { Frontend } from "../../wire/messages.ts";

/** A server that reads a COPY takes these, and one that drops what it gets up to the next Sync drops them or answers them. */
export const PASSES_ANYWAY: ReadonlySet<number> = new Set([
  ...[Frontend.Sync, Frontend.Flush, Frontend.Terminate],
  ...[Frontend.CopyData, Frontend.CopyDone, Frontend.CopyFail],
]);

/**
 * Whether a message of this type has to wait until it is known how a COPY has ended. Rows that are wrong end it, and a client
 * that knows that may go on before the server's error is here. Where the COPY goes on, the server ends the session, as it
 * would at the message itself.
 */
export function waitsForCopy(type: number, ledger: Ledger, leg: ServerLeg): boolean {
  if (ledger.asksAboutCopy) return true;
  const isUnknown = ledger.intake === "copyIn" || ledger.isUncertain;
  if (!isUnknown || PASSES_ANYWAY.has(type)) return false;
  leg.askAboutCopy();
  return true;
}

/**
 * Whether a message has to wait for the answer to one that may begin a COPY: what follows would be read as a part of it, or,
 * if it fails, would not.
 */
export function mayBelongToCopy(type: number, ledger: Ledger, leg: ServerLeg): boolean {
  if (ledger.intake === "copyIn" || ledger.barrier.passes(type, ledger.isSettled)) return false;
  if (ledger.mustFlush) leg.flush();
  return true;
}

/** CopyDone or CopyFail. */
export function endCopy(message: Parameters<ServerLeg["endCopy"]>[0], ledger: Ledger, leg: ServerLeg): void {
  const isPart = ledger.intake === "copyIn";
  leg.endCopy(message);
  // A query may hold another COPY, and which Syncs the server reads is known when this one has ended.
  if (isPart && ledger.head?.kind === "execute" && !ledger.isInDoubt) ledger.barrier.lift();
}
