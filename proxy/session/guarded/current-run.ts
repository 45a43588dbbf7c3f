import { SessionEnd } from "../context/parts.ts";
import { touchesPeople } from "../record/error-redaction.ts";
import { mayGiveRows, UNDESCRIBED } from "../statement/described.ts";
import { isPaidFor } from "../statement/pinned.ts";
import { asAnswered, isSource, sourceOf } from "../statement/prepared.ts";
import { Run, UNKNOWN_STATEMENT } from "../statement/run.ts";
import type { Exchange } from "./exchange.ts";
import type { ExecuteReply, QueryReply, Reply } from "./outstanding-replies.ts";

/**
 * The statement that the reply is now about. It is made when its first answer comes, by what the server's
 * names mean at that moment: nothing that was only foreseen decides what leaves.
 */
export function runOf(exchange: Exchange, reply: QueryReply | ExecuteReply): Run {
  begin(exchange, reply);
  reply.run ??= reply.kind === "query" ? runOfQuery(exchange, reply) : runOfExecute(exchange, reply);
  return reply.run;
}

/** The same after an error, when the names need not mean anything. Undefined for a message that is no SQL. */
export function failedRunOf(exchange: Exchange, reply: QueryReply | ExecuteReply): Run | undefined {
  begin(exchange, reply);
  if (reply.run !== undefined) return reply.run;
  const portal = reply.kind === "execute" ? portalOfReply(exchange, reply) : undefined;
  const judged = reply.kind === "query" ? reply.judged : portal?.judged;
  if (judged === undefined) return undefined;
  const statement =
    reply.kind === "query" ? judged.verdict.statements[exchange.ledger.statementIndex] : portal?.statement;
  const known = statement ?? UNKNOWN_STATEMENT;
  const counts = { rows: 0, bytes: 0 };
  // What an EXECUTE looked up is what the prepared statement looks up, and its error tells the answer.
  const source = sourceOf(known, counts, asAnswered(exchange.names));
  const shape = isSource(source) ? source.shape : known;
  const own = "refusedTo" in reply ? { ...judged, ...reply.refusedTo } : judged;
  return new Run(own, known, shape, counts, reply.at, { lookups: portal?.lookups ?? 0 });
}

/** A simple query ends the unnamed statement and the unnamed portal (exec_simple_query of tcop/postgres.c). */
function begin({ names }: Exchange, reply: QueryReply | ExecuteReply): void {
  if (reply.kind !== "query" || reply.begun) return;
  reply.begun = true;
  names.statements.delete("");
  names.portals.delete("");
}

function runOfQuery(exchange: Exchange, { judged, at, pinned, repeat }: QueryReply): Run {
  const index = exchange.ledger.statementIndex;
  const statement = judged?.verdict.statements[index];
  if (judged === undefined || statement === undefined) throw SessionEnd.outOfStep("One statement too many.");
  const source = sourceOf(statement, { rows: 0, bytes: 0 }, asAnswered(exchange.names));
  if (!isSource(source)) throw SessionEnd.outOfStep("A statement or cursor that nobody made.");
  const people = pinned[index];
  // Another cursor of that name was not paid for so.
  const isPaid = statement.effect?.kind !== "fetch" || isPaidFor(people, source.pinned);
  const paid = { pinned: isPaid ? people : undefined, repeat };
  const run = new Run(judged, statement, source.shape, source.counts, at, paid);
  run.scope = source.scope ?? judged.scope;
  return run;
}

function runOfExecute(exchange: Exchange, reply: ExecuteReply): Run {
  const portal = portalOfReply(exchange, reply);
  if (portal?.statement === undefined) throw SessionEnd.outOfStep("A portal that nobody made.");
  const source = sourceOf(portal.statement, portal.counts, asAnswered(exchange.names));
  if (!isSource(source)) throw SessionEnd.outOfStep("A statement or cursor that nobody made.");
  // Another portal of that name was not paid for so.
  const pinned = isPaidFor(reply.pinned, portal.pinned ?? source.pinned) ? reply.pinned : undefined;
  const run = new Run(portal.judged, portal.statement, source.shape, source.counts, reply.at, {
    pinned,
    lookups: portal.lookups,
    repeat: reply.repeat,
  });
  run.truncates = reply.truncates;
  const { answer } = portal.description;
  run.isDescribed = answer === "fits";
  if (!run.isDescribed && mayGiveRows(portal.statement))
    run.cut = answer === "fits" ? undefined : (answer ?? UNDESCRIBED);
  return run;
}

/** Whether what the server says before it has answered may tell of people. */
export function mayTouchPeople(exchange: Exchange, reply: Reply): boolean {
  switch (reply.kind) {
    case "query":
      // Of several statements one may have left something for the next to fail on.
      return reply.judged?.verdict.statements.some(touchesPeople) === true;
    case "execute": {
      const statement = portalOfReply(exchange, reply)?.statement;
      return statement !== undefined && touchesPeople(statement);
    }
    case "parse":
    case "bind":
      return reply.judged?.verdict.statements.some(touchesPeople) === true;
    // Constraints that were deferred are checked before what a Sync ends is committed.
    case "sync":
      return true;
    case "describe":
    case "close":
    case "ownExecute":
      return false;
  }
}

/** Whose rows an Execute brings. */
export function portalOfReply({ names }: Exchange, { unrolled, portalName }: ExecuteReply) {
  return unrolled ?? names.portals.get(portalName);
}
