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
 * Messages that surely fail on the server, sent in place of refused ones: the server then does to the
 * transaction and the pipeline what it does at any error, and nothing of the refused statement reaches it.
 * The client sees the refusal in place of the server's ErrorResponse. docs/decisions.md, "Refusing inside
 * a session".
 */

/** `!sluice` is no SQL: an operator begins no statement. */
const NO_SQL = Buffer.from("!sluice");
/** A client may give any name to what it prepares; nobody guesses this one, and no message shows it. */
const MISSING = `sluice ${randomBytes(16).toString("hex")}`;

/** In place of Query and FunctionCall. */
export const poisonedQuery: Buffer = queryMessage(NO_SQL);

/** In place of Parse: with the client's statement name, for the server drops the unnamed one also when it fails. */
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
