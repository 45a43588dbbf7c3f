import { poisonedExecute } from "../../wire/poison.ts";
import type { Refusal } from "../../wire/refusal.ts";
import { PROBE, rollBackMessages } from "../decide/probe.ts";
import type { Judged } from "../statement/decision.ts";
import type { Reader } from "./charged-readers.ts";
import { hold } from "./copying.ts";
import type { WatchedState } from "./watched-state.ts";

/** A commit that is refused. */
interface RefusedCommit {
  readonly judged: Judged;
  readonly reader: Reader;
  readonly refusal: Refusal;
  /** It stands for a simple query. */
  readonly ofQuery?: true;
}

/**
 * In place of a COMMIT that is refused: the transaction is gone with the error, as after a deferred constraint that fails
 * there. Many clients send no ROLLBACK after a COMMIT, and the next user of their connection would find a failed block.
 */
export function refuseCommit(state: WatchedState, { judged, reader, refusal, ofQuery }: RefusedCommit): void {
  const at = performance.now();
  const { parse, bind, execute, closePortal, closeStatement } = MESSAGES;
  const hidden = { at, hidden: true } as const;
  state.certainty.doubt();
  state.send(parse, { kind: "parse", ...hidden, judged: undefined, change: undefined });
  state.send(bind, { kind: "bind", ...hidden, judged: undefined, change: undefined });
  state.send(execute, { kind: "ownExecute", ...hidden, settings: [] });
  for (const message of [closePortal, closeStatement])
    state.send(message, { kind: "close", ...hidden, statement: undefined, portal: undefined });
  const told = { at, portal: PROBE, judged, reader, refusal, ...(ofQuery && { ofQuery }) };
  state.send(poisonedExecute, { kind: "execute", ...told });
  if (ofQuery) hold(state);
}

const MESSAGES = rollBackMessages();
