import type { Refusal } from "../wire/refusal.ts";
import type { Judged } from "./judged.ts";
import type { Change } from "./names.ts";
import type { PinnedPeople } from "./pinned.ts";
import type { Portal, Prepared } from "./prepared.ts";
import type { Repeat } from "./repeats.ts";
import type { Run } from "./run.ts";

interface Expected {
  /** `performance.now()` at the client's message. */
  readonly at: number;
  /** Told in place of the server's error: a message that surely fails stands in place of the client's. */
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
  /** The statement that is being answered. */
  index: number;
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
  readonly portalName: string;
  /** Ours, which runs a simple query in the extended protocol. */
  readonly unrolled: Portal | undefined;
  /** How many rows the client asked for at most; 0: all. */
  readonly asked: number;
  /** The result ends early with a warning, in place of an error, when it exceeds the role's limits. */
  readonly truncates: boolean;
  /** The people by whom it was paid for. */
  readonly pinned: PinnedPeople | undefined;
  readonly repeat: Repeat | undefined;
  run: Run | undefined;
}

/** SHOW search_path. */
export interface ProbeReply extends Expected {
  readonly kind: "probe";
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

/** Compacting a queue costs its length; so many answered replies are worth it. */
const COMPACT = 256;

/** What the server still has to answer, in the order of the messages that were sent. */
export class Replies {
  #queue: Reply[] = [];
  #head = 0;
  #runs = 0;

  push(reply: Reply): void {
    if (isRun(reply)) this.#runs++;
    this.#queue.push(reply);
  }

  /** Some statement is being run: what it does to names that SQL gives is not known yet. */
  get areRunning(): boolean {
    return this.#runs > 0;
  }

  get head(): Reply | undefined {
    return this.#queue[this.#head];
  }

  /** The one behind the head. */
  get second(): Reply | undefined {
    return this.#queue[this.#head + 1];
  }

  get isEmpty(): boolean {
    return this.#head === this.#queue.length;
  }

  /** The head has been answered. */
  shift(): void {
    if (isRun(this.head)) this.#runs--;
    this.#head++;
    if (this.#head === this.#queue.length) {
      this.#queue.length = 0;
      this.#head = 0;
    } else if (this.#head >= COMPACT) {
      this.#queue.splice(0, this.#head);
      this.#head = 0;
    }
  }

  /** The head is answered by another reply than it was sent for. */
  replaceHead(reply: Reply): void {
    this.#queue[this.#head] = reply;
  }

  /**
   * After an error in the extended protocol: takes out all that the server skips, the head included. What is
   * left begins with the Sync that ends the skipping, or is nothing: the Sync is still to come.
   */
  skipToSync(): readonly Reply[] {
    let at = this.#head;
    while (at < this.#queue.length && this.#queue[at]?.kind !== "sync") at++;
    const skipped = this.#queue.slice(this.#head, at);
    this.#runs -= skipped.filter(isRun).length;
    this.#queue.splice(0, at);
    this.#head = 0;
    return skipped;
  }
}

function isRun(reply: Reply | undefined): boolean {
  return reply?.kind === "query" || reply?.kind === "execute";
}
