import type { Frame } from "../../wire/frames.ts";
import { SessionEnd } from "../context/parts.ts";
import { trimDescription } from "../statement/described.ts";
import { portalOf } from "../statement/prepared.ts";
import { Announcements } from "./announcements.ts";
import type { Describing } from "./describing.ts";
import type { Exchange } from "./exchange.ts";
import type { Reply } from "./outstanding-replies.ts";

/** Answers to messages of the extended protocol that run nothing: what has a name now, and what it gives. */
export class StepAnswers {
  readonly #exchange: Exchange;
  readonly #announcements: Announcements;
  readonly #describing: Describing;

  constructor(exchange: Exchange, describing: Describing) {
    this.#exchange = exchange;
    this.#announcements = new Announcements(exchange);
    this.#describing = describing;
  }

  parseComplete(frame: Frame): void {
    const reply = this.#expect("parse");
    const { statements } = this.#exchange.names;
    if (reply.change !== undefined) statements.confirm(reply.change);
    if (reply.hidden !== true) this.#announcements.ofStatement(reply.judged?.verdict.statements[0]);
    this.#answered(reply, frame);
  }

  bindComplete(frame: Frame): void {
    const { names } = this.#exchange;
    const reply = this.#expect("bind");
    const { change } = reply;
    if (change !== undefined) {
      names.portals.confirm(change);
      if (change.value !== undefined) {
        // What the server bound is what it had under that name just now, whatever was foreseen.
        const prepared = names.statements.get(reply.statement);
        if (prepared === undefined) throw SessionEnd.outOfStep("A portal of an unknown statement.");
        if (prepared.statement !== change.value.statement) {
          const { person } = change.value.judged;
          const judged = { ...(prepared.kept.judged ?? change.value.judged), person };
          names.portals.set(
            change.name,
            portalOf(judged, prepared.statement, { description: prepared.description }),
          );
        }
      }
    }
    this.#answered(reply, frame);
  }

  closeComplete(frame: Frame): void {
    const { statements, portals } = this.#exchange.names;
    const reply = this.#expect("close");
    if (reply.statement !== undefined) statements.confirm(reply.statement);
    if (reply.portal !== undefined) portals.confirm(reply.portal);
    this.#answered(reply, frame);
  }

  parameterDescription(frame: Frame): void {
    this.#expect("describe");
    this.#exchange.toClient.forward(frame);
  }

  /** RowDescription, as the answer to a Describe. */
  description(frame: Frame): void {
    const { ledger, toClient } = this.#exchange;
    const reply = this.#expect("describe");
    const fits = this.#describing.ofReply(frame, reply);
    // The client may ask again once it has been told: what it asked for by itself it gets, names and types.
    if (reply.own !== true && (fits || reply.hidden !== true))
      toClient.lend(frame.buffer, frame.start, trimDescription(frame, this.#describing.source(reply).shape));
    ledger.answered(frame.type);
  }

  noData(frame: Frame): void {
    const reply = this.#expect("describe");
    this.#describing.nothing(reply);
    this.#answered(reply, frame);
  }

  #expect<Kind extends Reply["kind"]>(kind: Kind): Extract<Reply, { kind: Kind }> {
    const { head } = this.#exchange.ledger;
    if (head?.kind !== kind)
      throw SessionEnd.outOfStep(`An answer to ${kind}, not to ${head?.kind ?? "nothing"}.`);
    if (head.refusal !== undefined) throw SessionEnd.outOfStep("What had to fail did not.");
    // TypeScript does not narrow a union by a type parameter.
    return head as Extract<Reply, { kind: Kind }>;
  }

  #answered(reply: Reply, frame: Frame): void {
    this.#exchange.ledger.answered(frame.type);
    if (reply.hidden !== true) this.#exchange.toClient.forward(frame);
  }
}
