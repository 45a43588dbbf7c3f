import type { Change } from "../../protocol/object-names.ts";
import type { Refusal } from "../../wire/refusal.ts";
import type { Judged } from "../statement/decision.ts";
import type { PinnedPeople } from "../statement/pinned.ts";
import type { Portal, Prepared } from "../statement/prepared.ts";
import type { Repeat } from "../statement/repeats.ts";
import type { Run } from "../statement/run.ts";

interface Expected {
  /** `performance.now()` at the client's message. */
  readonly at: number;
  /** Sent in place of the server's error: a message that surely fails replaces the client's. */
  readonly refusal?: Refusal;
  /** Not of the client's asking: it hears nothing of its success. */
  readonly hidden?: boolean;
  /** Nor of its failure. */
  readonly quiet?: boolean;
}

export interface QueryReply extends Expected {
  readonly kind: "query";
  /** The one that it ends. */
  readonly pipeline: number;
  /** Undefined for a message that is no SQL. */
  readonly judged: Judged | undefined;
  run: Run | undefined;
  /** Of each of its statements, where it was paid for by them. */
  readonly pinned: readonly (PinnedPeople | undefined)[];
  readonly repeat: Repeat | undefined;
  begun: boolean;
  /** The client has been told an error; what still comes is dropped up to ReadyForQuery. */
  failed: boolean;
  /** The server did not fail, though the client was told so: an open transaction must fail yet. */
  spoiled: boolean;
}

export interface ParseReply extends Expected {
  readonly kind: "parse";
  readonly name: string;
  readonly judged: Judged | undefined;
  readonly change: Change<Prepared> | undefined;
}

export interface BindReply extends Expected {
  readonly kind: "bind";
  readonly statement: string;
  readonly judged: Judged | undefined;
  readonly change: Change<Portal> | undefined;
}

export interface DescribeReply extends Expected {
  readonly kind: "describe";
  /** Asked by the proxy for itself: the client sees nothing of the answer. */
  readonly own?: true;
  /** A portal of ours has no name. */
  readonly of: { readonly target: "statement" | "portal"; readonly name: string } | Portal;
}

export interface CloseReply extends Expected {
  readonly kind: "close";
  readonly statement: Change<Prepared> | undefined;
  readonly portal: Change<Portal> | undefined;
}

export interface ExecuteReply extends Expected {
  readonly kind: "execute";
  /** For whom an application wanted it, where it was refused. */
  readonly refusedTo?: Pick<Judged, "person" | "role">;
  readonly portalName: string;
  /** Ours, which runs a simple query in the extended protocol. */
  readonly unrolled: Portal | undefined;
  /** How many rows the client asked for at most; 0: all. */
  readonly asked: number;
  /** The result ends early with a warning, in place of an error, when it exceeds the role's limits. */
  readonly truncates: boolean;
  /** The people that its price covers. */
  readonly pinned: PinnedPeople | undefined;
  readonly repeat: Repeat | undefined;
  run: Run | undefined;
}

/** SHOW search_path, asked by the proxy. */
export interface ProbeReply extends Expected {
  readonly kind: "ownExecute";
}

export interface SyncReply extends Expected {
  readonly kind: "sync";
  /** The one that it ends. */
  readonly pipeline: number;
  /** As in `QueryReply`. */
  spoiled: boolean;
}

export type Reply =
  | QueryReply
  | ParseReply
  | BindReply
  | DescribeReply
  | CloseReply
  | ExecuteReply
  | ProbeReply
  | SyncReply;
