import { randomBytes } from "node:crypto";
import {
  bindMessage,
  describeMessage,
  executeMessage,
  parseMessage,
  queryMessage,
  type Target,
} from "./frontend-messages.ts";

/**
 * Messages that are certain to fail on the server, sent in place of refused ones. The server then treats the
 * transaction and the pipeline as after any error, and nothing of the refused statement reaches it. The client sees the
 * refusal in place of the server's ErrorResponse: docs/decisions/001-poisoned-message.md.
 */

/** `!sluice` is not valid SQL: no statement begins with an operator. */
const NO_SQL = Buffer.from("!sluice");
/** Clients may choose any name for what they prepare; this one cannot be guessed, and no message shows it. */
const MISSING = `sluice ${randomBytes(16).toString("hex")}`;

/** In place of Query and FunctionCall. */
export const poisonedQuery: Buffer = queryMessage(NO_SQL);

/**
 * In place of Parse: with the client's statement name, because the server drops the unnamed statement even if Parse
 * fails.
 */
export function poisonedParse(statement: string): Buffer {
  return parseMessage(statement, NO_SQL);
}

/** In place of Bind: with the client's portal name, for a statement that does not exist. */
export function poisonedBind(portal: string): Buffer {
  return bindMessage(portal, MISSING);
}

/** In place of Describe. */
export function poisonedDescribe(target: Target["target"]): Buffer {
  return describeMessage({ target, name: MISSING });
}

/** In place of Execute. */
export const poisonedExecute: Buffer = executeMessage(MISSING, 0);
