import type { Limits } from "../../policy/policy.ts";
import { bindMessage, describeMessage, executeMessage, parseMessage } from "../../wire/frontend-messages.ts";
import type { Judged } from "../statement/decision.ts";
import type { PinnedPeople } from "../statement/pinned.ts";
import { portalOf, type Source } from "../statement/prepared.ts";
import type { Counts } from "../statement/run.ts";
import type { Exchange } from "./exchange.ts";

/** Where only bytes are limited, rows are asked for in portions of so many: what is read in vain stays small. */
const PORTION = 500;

/**
 * How many rows the server is asked for where the client wants `asked` (0: all) and has got `got`: one
 * more than may leave, which tells whether there are more.
 */
export function rowsToAsk(asked: number, got: number, counts: Counts, { rows }: Limits): number {
  const left = asked === 0 ? Number.POSITIVE_INFINITY : asked - got;
  const room = rows === undefined ? PORTION : Math.max(rows - counts.rows, 0) + 1;
  return Math.min(left, room);
}

/**
 * Runs a simple query of one statement in the extended protocol. So it can be asked for fewer rows than it
 * has; and what it wrote is not committed before its rows have left, as the Sync waits for them.
 */
export function unroll(
  exchange: Exchange,
  judged: Judged,
  source: Source,
  pinned: PinnedPeople | undefined,
): void {
  const { names, ledger, judging } = exchange;
  const { pipeline } = ledger;
  const { verdict, text } = judged;
  const { limits } = judging.role;
  const portal = portalOf(judged, verdict.statements[0], { pinned });
  const truncates = limits.onExcess === "truncate";
  const isRead = source.shape.kind === "read";
  const rows = truncates && isRead ? rowsToAsk(0, 0, source.counts, limits) : 0;
  const common = { at: performance.now(), hidden: true } as const;
  // A simple query leaves neither an unnamed statement nor an unnamed portal behind.
  exchange.sendStep(parseMessage("", verdict.kind === "rewrite" ? verdict.sql : text), {
    kind: "parse",
    ...common,
    name: "",
    judged,
    change: names.statements.propose("", undefined, pipeline),
  });
  exchange.sendStep(bindMessage("", ""), {
    kind: "bind",
    ...common,
    statement: "",
    judged,
    change: names.portals.propose("", undefined, pipeline),
  });
  exchange.sendStep(describeMessage({ target: "portal", name: "" }), {
    kind: "describe",
    ...common,
    of: portal,
  });
  exchange.sendStep(executeMessage("", rows), {
    kind: "execute",
    at: common.at,
    portalName: "",
    unrolled: portal,
    asked: 0,
    truncates,
    pinned,
    repeat: undefined,
    run: undefined,
  });
  exchange.flush();
  exchange.unrolling = true;
  ledger.barrier.raise("closed");
}
