import { mapPosition } from "../../sql/position.ts";
import { decodeError, withPosition } from "../../wire/errors.ts";
import type { Frame } from "../../wire/frames.ts";
import type { Judged } from "../statement/decision.ts";

/**
 * The server's error with the place in the client's own text; undefined where it is right as it is. One that comes in
 * pieces stays as it is: its place follows the message, which has not come yet.
 */
export function positionOnly(frame: Frame, { text, verdict }: Judged): Buffer | undefined {
  if (verdict.kind !== "rewrite" || frame.piece !== "whole") return undefined;
  const position = Number(decodeError(frame).get("P") ?? 0);
  if (!(position > 0)) return undefined;
  const own = mapPosition(text, verdict.sql, verdict.edits, position);
  return own === position ? undefined : withPosition(frame, own);
}
