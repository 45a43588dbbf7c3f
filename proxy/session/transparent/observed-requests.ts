import { type Frame, ProtocolViolation } from "../../wire/frames.ts";
import {
  decodeBegunText,
  decodeBindNames,
  decodeClose,
  decodeExecute,
  decodeParse,
  decodeQuery,
  type Target,
} from "../../wire/frontend-messages.ts";
import { Frontend } from "../../wire/messages.ts";
import { type Judged, Kept } from "../statement/decision.ts";

/** A request of a session that is not guarded, with what its answer is put on record by. `at`: when the client sent it. */
export type ObservedRequest =
  | { readonly kind: "query"; readonly at: number; readonly judged: Judged }
  | { readonly kind: "parse"; readonly at: number; readonly name: string; readonly kept: Kept }
  | { readonly kind: "bind"; readonly at: number; readonly portal: string; readonly statement: string }
  | { readonly kind: "execute"; readonly at: number; readonly portal: string }
  | { readonly kind: "close"; readonly of: Target }
  | { readonly kind: "functionCall"; readonly at: number; readonly judged?: Judged }
  | { readonly kind: "describe" | "sync" };

/** The same object each time. Of other messages a leg may keep notes, by their requests: each has an object of its own. */
export const SYNC: ObservedRequest = { kind: "sync" };

/**
 * In place of a request that could not be read: of a kind whose answer brings no result. A server that runs the message
 * all the same gives an answer of another kind, and that ends the session.
 */
export function malformed(type: number): ObservedRequest {
  return type === Frontend.Query ? { kind: "functionCall", at: performance.now() } : { kind: "describe" };
}

interface Judge {
  /** Is lent a text, of which so many bytes more are still to come; keeps nothing of its memory. */
  text(text: Buffer, more: number): Judged;
  /** A call of the function call protocol. */
  call(frame: Frame): Judged;
}

/** Reads as much of a message as the record needs. */
export function requestOf(frame: Frame, judge: Judge): ObservedRequest {
  const at = performance.now();
  if (frame.piece === "first") {
    const begun = begunText(frame, judge, at);
    if (begun !== undefined) return begun;
  }
  switch (frame.type) {
    case Frontend.Query: {
      const { sqlStart, sqlEnd } = decodeQuery(frame);
      return { kind: "query", at, judged: judge.text(frame.buffer.subarray(sqlStart, sqlEnd), 0) };
    }
    case Frontend.Parse: {
      const { statement: name, sqlStart, sqlEnd } = decodeParse(frame);
      const judged = judge.text(frame.buffer.subarray(sqlStart, sqlEnd), 0);
      return { kind: "parse", at, name, kept: new Kept(judged) };
    }
    case Frontend.Bind: {
      const { portal, statement } = decodeBindNames(frame);
      return { kind: "bind", at, portal, statement };
    }
    case Frontend.Execute:
      return { kind: "execute", at, portal: decodeExecute(frame).portal };
    case Frontend.Close:
      return { kind: "close", of: decodeClose(frame) };
    case Frontend.Describe:
      return { kind: "describe" };
    case Frontend.FunctionCall:
      return { kind: "functionCall", at, judged: judge.call(frame) };
    default:
      throw new ProtocolViolation(`invalid frontend message type ${frame.type}`);
  }
}

/** A text whose end is still to come; undefined for other messages. */
function begunText(frame: Frame, judge: Judge, at: number): ObservedRequest | undefined {
  if (frame.type !== Frontend.Query && frame.type !== Frontend.Parse) return undefined;
  const { statement: name, sqlStart, more } = decodeBegunText(frame);
  const judged = judge.text(frame.buffer.subarray(sqlStart, frame.end), more);
  if (frame.type === Frontend.Query) return { kind: "query", at, judged };
  return { kind: "parse", at, name, kept: new Kept(judged) };
}
