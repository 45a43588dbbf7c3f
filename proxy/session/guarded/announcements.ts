import type { Statement } from "../../sql/verdict.ts";
import { decodeNotification, decodeParameterStatus } from "../../wire/backend-messages.ts";
import { decodeError, type ErrorFields, noticeResponse, redactError } from "../../wire/errors.ts";
import type { Frame } from "../../wire/frames.ts";
import { refuseSession } from "../../wire/refusal.ts";
import { SessionEnd } from "../context/parts.ts";
import { PINNED } from "../login/startup-settings.ts";
import { tellingOf } from "../record/error-redaction.ts";
import { mayTouchPeople } from "./current-run.ts";
import type { Exchange } from "./exchange.ts";
import type { Reply } from "./outstanding-replies.ts";

/** Messages beside the answers: what the server sends unasked (Postgres docs, "Asynchronous Operations"), and our own notices. */
export class Announcements {
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  parameterStatus(frame: Frame): void {
    const { established, judging, toClient } = this.#exchange;
    const { name, value } = decodeParameterStatus(frame);
    established.parameters.set(name, value);
    const pinned = PINNED.get(name);
    if (pinned !== undefined && pinned !== value) {
      throw new SessionEnd(
        refuseSession("42501", `parameter "${name}" must stay ${pinned} for this role`, {
          hint: "A function or a default of the database has changed it.",
        }),
      );
    }
    if (name === "search_path") judging.path.report(value);
    toClient.forward(frame);
  }

  noticeResponse(frame: Frame): void {
    const { ledger, toClient } = this.#exchange;
    const { head } = ledger;
    if (head?.quiet === true) return;
    const judged = head !== undefined && "judged" in head ? head.judged : undefined;
    const fields = decodeError(frame);
    if (!isForClients(fields)) return;
    // Their number, kinds and order could carry a message that the statement composes from values.
    if (head !== undefined && !isOfTransaction(fields) && mayTouchPeople(this.#exchange, head)) return;
    toClient.send(redactError(frame, tellingOf(judged, fields, false)));
  }

  /** What a statement was judged to need said, when it is prepared. */
  ofStatement(statement: Statement | undefined): void {
    for (const each of statement?.notices ?? []) this.#exchange.toClient.send(noticeResponse(each));
  }

  /** The same when a statement of a simple query has been answered. */
  ofQuery(reply: Reply | undefined): void {
    if (reply?.kind === "query" && !reply.failed)
      this.ofStatement(reply.judged?.verdict.statements[this.#exchange.ledger.statementIndex]);
    if (reply?.kind === "execute") this.ofStatement(reply.unrolled?.statement);
  }

  /** A guarded role may not LISTEN; a payload could hold anything. */
  notification(frame: Frame): void {
    const { channel } = decodeNotification(frame);
    this.#exchange.parts.log.debug({ channel }, "a notification for a guarded session was dropped");
  }
}

/**
 * LOG and DEBUG messages belong to the server's log. A session that asks for them (client_min_messages) could read the
 * rewritten text through `log_min_duration_statement`, including the keys of the noise, and plans with real row counts
 * through auto_explain.
 */
function isForClients(fields: ErrorFields): boolean {
  return FOR_CLIENTS.has(fields.get("V") ?? "");
}

/** Field V, which is never translated (Postgres docs, "Error and Notice Message Fields"). */
const FOR_CLIENTS: ReadonlySet<string> = new Set(["INFO", "NOTICE", "WARNING"]);

/** "There is no transaction in progress" and its like are said of BEGIN, COMMIT and ROLLBACK, whatever rows hold. */
function isOfTransaction(fields: ErrorFields): boolean {
  return fields.get("C")?.startsWith("25") === true;
}
