import type { Change } from "../../protocol/object-names.ts";
import type { Request } from "../../protocol/requests.ts";
import type { Target } from "../../wire/frontend-messages.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { Judged } from "../statement/decision.ts";
import type { Portal, Prepared } from "../statement/prepared.ts";
import type { Reader } from "./charged-readers.ts";

interface SentRequest extends Request {
  /** `performance.now()` at the client's message. */
  readonly at: number;
  /** Sent in place of the server's error: a message that surely fails replaces the client's. */
  readonly refusal?: Refusal;
  /** Of the proxy's own asking: the client hears nothing of it. */
  readonly hidden?: true;
  /** It stands for a simple query: a Sync follows its answer. */
  readonly ofQuery?: true;
  /** SentRequest between two messages of the client: a failure goes unnoticed. In a pipeline it fails the pipeline. */
  readonly quiet?: true;
}

export interface QueryRequest extends SentRequest {
  readonly kind: "query";
  readonly reader: Reader;
  readonly judged: Judged;
}

export interface ExecuteRequest extends SentRequest {
  readonly kind: "execute";
  readonly reader: Reader;
  readonly portal: string;
  /** Of a portal that only the server knows. */
  readonly judged?: Judged;
}

/** A call of the function call protocol. Undefined for a message that fails in its place, and in place of a query. */
export interface FunctionCallRequest extends SentRequest {
  readonly kind: "functionCall";
  readonly called?: { readonly reader: Reader; readonly judged: Judged };
}

/** A message of a watched session whose answer is outstanding. */
export type WatchedRequest =
  | QueryRequest
  | ExecuteRequest
  | FunctionCallRequest
  /** `reader`: who was refused, of Parse and Bind. */
  | (SentRequest & {
      readonly kind: "parse";
      readonly judged: Judged | undefined;
      readonly change: Change<Prepared> | undefined;
      readonly reader?: Reader;
    })
  | (SentRequest & {
      readonly kind: "bind";
      readonly judged: Judged | undefined;
      readonly change: Change<Portal> | undefined;
      readonly reader?: Reader;
    })
  | (SentRequest & { readonly kind: "describe"; readonly of: Target })
  | (SentRequest & {
      readonly kind: "close";
      readonly statement: Change<Prepared> | undefined;
      readonly portal: Change<Portal> | undefined;
    })
  /** `settings`: which ones were asked for. */
  | (SentRequest & { readonly kind: "ownExecute"; readonly settings: readonly string[] })
  | (SentRequest & { readonly kind: "sync" });

/** What runs something that is on record by itself. */
export type RunRequest =
  | QueryRequest
  | ExecuteRequest
  | (FunctionCallRequest & { readonly called: NonNullable<FunctionCallRequest["called"]> });

export function isRunRequest(request: WatchedRequest | undefined): request is RunRequest {
  if (request?.kind === "functionCall") return request.called !== undefined;
  return request?.kind === "query" || request?.kind === "execute";
}
