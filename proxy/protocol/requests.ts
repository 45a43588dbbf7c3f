import { Backend } from "../wire/messages.ts";

/** What a message asks of the server, by the answer that it has (Postgres docs, 53.2 "Message Flow"). */
export type RequestKind =
  | "query"
  | "functionCall"
  | "parse"
  | "bind"
  | "describe"
  | "execute"
  | "close"
  | "sync"
  /** As "query" and "execute", asked by the proxy for itself: no client sees anything of the answer. */
  | "ownQuery"
  | "ownExecute";

/** A message whose answer is outstanding. Each user of the ledger adds what it wants to know when the answer comes. */
export interface Request {
  readonly kind: RequestKind;
}

const NO = 0;
const MAY_ANSWER = 1;
const ENDS_ANSWER = 2;

function answers(more: readonly number[], last: readonly number[]): Uint8Array {
  const table = new Uint8Array(256).fill(NO);
  for (const type of more) table[type] = MAY_ANSWER;
  for (const type of last) table[type] = ENDS_ANSWER;
  return table;
}

const ROWS = [
  Backend.DataRow,
  Backend.CopyInResponse,
  Backend.CopyOutResponse,
  Backend.CopyData,
  Backend.CopyDone,
];

/** 53.2.2 "Simple Query": any number of statements, each with its end, and ReadyForQuery behind the last one. */
const OF_QUERY = answers(
  [...ROWS, Backend.RowDescription, Backend.CommandComplete, Backend.EmptyQueryResponse],
  [Backend.ReadyForQuery],
);
/** 53.2.3 "Extended Query": no RowDescription; one of three ends. */
const OF_EXECUTE = answers(ROWS, [
  Backend.CommandComplete,
  Backend.EmptyQueryResponse,
  Backend.PortalSuspended,
]);

const ANSWERS: Readonly<Record<RequestKind, Uint8Array>> = {
  query: OF_QUERY,
  ownQuery: OF_QUERY,
  functionCall: answers([Backend.FunctionCallResponse], [Backend.ReadyForQuery]),
  parse: answers([], [Backend.ParseComplete]),
  bind: answers([], [Backend.BindComplete]),
  // ParameterDescription comes first where a statement is described, and not where a portal is.
  describe: answers([Backend.ParameterDescription], [Backend.RowDescription, Backend.NoData]),
  execute: OF_EXECUTE,
  ownExecute: OF_EXECUTE,
  close: answers([], [Backend.CloseComplete]),
  sync: answers([], [Backend.ReadyForQuery]),
};

/** Whether a message of this type, other than ErrorResponse, can be a part of the answer. */
export function mayAnswer({ kind }: Request, type: number): boolean {
  return ANSWERS[kind][type] !== NO;
}

/** Whether it is the last part. */
export function endsAnswer({ kind }: Request, type: number): boolean {
  return ANSWERS[kind][type] === ENDS_ANSWER;
}

/** Messages that come at any time and answer nothing (53.2.7 "Asynchronous Operations"). */
export function isUnasked(type: number): boolean {
  return (
    type === Backend.NoticeResponse ||
    type === Backend.ParameterStatus ||
    type === Backend.NotificationResponse
  );
}

/**
 * Whether ReadyForQuery ends the answer. Such a request stands by itself: what fails in it is not followed by skipping.
 */
export function endsReady({ kind }: Request): boolean {
  return kind === "sync" || kind === "query" || kind === "functionCall" || kind === "ownQuery";
}

/** Whether the request runs statements of the client's. */
export function runs({ kind }: Request): boolean {
  return kind === "query" || kind === "execute";
}

/** Whether the request is a message of the extended protocol that a Sync has yet to close. */
export function isStep({ kind }: Request): boolean {
  return !endsReady({ kind });
}
