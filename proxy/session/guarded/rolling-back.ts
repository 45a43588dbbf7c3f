import type { Scope } from "../../sql/scope.ts";
import { poisonedExecute } from "../../wire/poison.ts";
import type { Refusal } from "../../wire/refusal.ts";
import { PROBE, rollBackMessages } from "../decide/probe.ts";
import { COMMITTING, commitIn } from "../judged/committing.ts";
import type { Judged } from "../statement/decision.ts";
import { portalOf } from "../statement/prepared.ts";
import type { Exchange } from "./exchange.ts";

/** As of watched sessions: the transaction is gone with the error. `by`: how the COMMIT was sent. */
export function refuseCommit(
  exchange: Exchange,
  judged: Judged,
  refusal: Refusal,
  by: "simple" | "extended",
): void {
  const { parse, bind, execute, closePortal, closeStatement } = MESSAGES;
  const hidden = { at: performance.now(), hidden: true } as const;
  const none = { judged: undefined, change: undefined };
  for (const statement of judged.verdict.statements) exchange.foresee(statement);
  exchange.sendStep(parse, { kind: "parse", ...hidden, name: PROBE, ...none });
  exchange.sendStep(bind, { kind: "bind", ...hidden, statement: PROBE, ...none });
  exchange.sendStep(execute, { kind: "ownExecute", ...hidden });
  for (const message of [closePortal, closeStatement])
    exchange.sendStep(message, { kind: "close", ...hidden, statement: undefined, portal: undefined });
  failAtCommit(exchange, judged, refusal);
  if (by === "extended") return;
  exchange.flush();
  exchange.unrolling = true;
  exchange.ledger.barrier.raise("closed");
}

const MESSAGES = rollBackMessages();

/** The pipeline fails before its Sync, which would commit it. */
export function refuseCommitAtSync(exchange: Exchange, scope: Scope, refusal: Refusal): void {
  const { person, role } = exchange.judging;
  failAtCommit(exchange, { ...commitIn(scope), person, role: role.name }, refusal);
}

function failAtCommit(exchange: Exchange, judged: Judged, refusal: Refusal): void {
  const [statement = COMMITTING] = judged.verdict.statements;
  exchange.sendStep(poisonedExecute, {
    ...{ kind: "execute", at: performance.now(), refusal, portalName: "" },
    ...{ unrolled: portalOf(judged, statement), asked: 0, truncates: false },
    ...{ pinned: undefined, repeat: undefined, run: undefined },
  });
}
