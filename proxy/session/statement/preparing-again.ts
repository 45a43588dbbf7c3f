import { randomBytes } from "node:crypto";
import { frameOf } from "../../wire/frames.ts";
import { closeMessage, decodeParse } from "../../wire/frontend-messages.ts";
import { cstring, Frontend, message } from "../../wire/messages.ts";
import type { Judged } from "./decision.ts";
import { textOf } from "./prepared.ts";

/** A name that no client has by chance. */
export const TRIAL = `sluice trial ${randomBytes(8).toString("hex")}`;

/**
 * The messages that replace the text of a prepared statement at the server, in the order of sending. A text that cannot
 * be prepared, in a failed block or because a relation is missing, fails at the trial: the server then ignores the rest
 * and keeps the old text, which may become valid again.
 */
export interface PreparingAgain {
  readonly trial: Buffer;
  readonly close: Buffer;
  readonly parse: Buffer;
  readonly closeTrial: Buffer;
}

/** `parse`: the client's own Parse message, as `preparedBy` keeps it. */
export function preparingAgain(key: string, parse: Buffer, judged: Judged): PreparingAgain {
  const types = parse.subarray(decodeParse(frameOf(parse)).typesStart);
  const parseAs = (name: string) =>
    message(Frontend.Parse, cstring(name, "latin1"), textOf(judged), ZERO, types);
  return {
    trial: parseAs(TRIAL),
    close: closeMessage({ target: "statement", name: key }),
    parse: parseAs(key),
    closeTrial: closeMessage({ target: "statement", name: TRIAL }),
  };
}

const ZERO = Buffer.alloc(1);
