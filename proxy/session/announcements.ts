import { decodeNotification, decodeParameterStatus } from "../wire/backend-messages.ts";
import { decodeError, redactError } from "../wire/errors.ts";
import type { Frame } from "../wire/frames.ts";
import { refuseSession } from "../wire/refusal.ts";
import type { Exchange } from "./exchange.ts";
import { SessionEnd } from "./parts.ts";
import { PINNED } from "./startup-settings.ts";
import { tellingOf } from "./telling.ts";

/** What the server says unasked (Postgres docs, "Asynchronous Operations"). */
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
    const { replies, toClient } = this.#exchange;
    const { head } = replies;
    if (head?.quiet === true) return;
    const judged = head !== undefined && "judged" in head ? head.judged : undefined;
    toClient.send(redactError(frame, tellingOf(judged, decodeError(frame))));
  }

  /** A guarded role may not LISTEN; a payload could hold anything. */
  notification(frame: Frame): void {
    const { channel } = decodeNotification(frame);
    this.#exchange.parts.log.debug({ channel }, "a notification for a guarded session was dropped");
  }
}
