import type { Numbers } from "../metrics/metrics.ts";
import type { PolicyText } from "../policy/compile.ts";
import type { Address, Addresses } from "../settings/settings.ts";
import type { Refusal } from "../wire/refusal.ts";

/** One process' report: whether it can serve, and its metrics. */
export interface Report {
  readonly ready: boolean;
  readonly reasons: readonly string[];
  readonly numbers: readonly Numbers[];
}

/** The first process' report on all processes. */
export interface Whole {
  readonly ready: boolean;
  readonly reasons: readonly string[];
  /** The response of `/metrics`. */
  readonly contentType: string;
  readonly text: string;
}

/** The questions between the processes, with their answers: plain data, sent as JSON. */
export interface Questions {
  /** Sent to a worker. */
  report: { readonly ask: null; readonly answer: Report };
  /** Sent to the first process by the worker that serves --admin. */
  whole: { readonly ask: null; readonly answer: Whole };
  /** Sent in both directions. The key is hexadecimal. */
  cancel: { readonly ask: { readonly processId: number; readonly key: string }; readonly answer: boolean };
  /** Sent to the first process: connection limits. */
  enter: { readonly ask: null; readonly answer: Refusal | null };
  settle: { readonly ask: string; readonly answer: Refusal | null };
  leave: { readonly ask: string | null; readonly answer: null };
  /** Sent to the first process: this worker accepts clients. */
  serving: {
    readonly ask: { readonly addresses: Addresses };
    readonly answer: null;
  };
  /** Sent to a worker: serve --admin for all from now on; the answer is the address, because the port may be chosen. */
  admin: { readonly ask: Address; readonly answer: Address };
  /** Sent to a worker: read your files again. Sent to the first process: let all workers do so. */
  reload: { readonly ask: null; readonly answer: null };
  /** Sent to the first process: this policy has come into force here. */
  policy: { readonly ask: readonly PolicyText[]; readonly answer: null };
  /** Sent to the first process: asks for the policy that came into force last, in any worker. */
  inForce: { readonly ask: null; readonly answer: readonly PolicyText[] | null };
  end: { readonly ask: null; readonly answer: null };
}

export type Handlers = {
  readonly [Name in keyof Questions]?: (ask: Questions[Name]["ask"]) => Promise<Questions[Name]["answer"]>;
};

/** One end of the channel between two processes: Node's own process or worker object. */
export interface Channel {
  send(message: object): unknown;
  on(event: "message", listener: (message: unknown) => void): unknown;
  isConnected(): boolean;
}

interface Message {
  readonly id: number;
  readonly question?: keyof Questions;
  readonly ask?: unknown;
  readonly answer?: unknown;
  readonly failed?: true;
}

interface PendingReply {
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** Questions and answers between two processes of one Sluice. */
export class Link {
  readonly #channel: Channel;
  readonly #handlers: Handlers;
  readonly #waiting = new Map<number, PendingReply>();
  #last = 0;

  constructor(channel: Channel, handlers: Handlers) {
    this.#channel = channel;
    this.#handlers = handlers;
    channel.on("message", (message) => void this.#receive(message as Message));
  }

  /** Rejects if the other process ends or does not answer in time. */
  ask<Name extends keyof Questions>(
    question: Name,
    ask: Questions[Name]["ask"],
    withinMs: number,
  ): Promise<Questions[Name]["answer"]> {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      if (!this.#channel.isConnected()) return reject(new Error("the other process has ended"));
      const timer = setTimeout(() => settle(reject)(new Error(`no answer to "${question}"`)), withinMs);
      const settle =
        <T>(done: (value: T) => void) =>
        (value: T) => {
          clearTimeout(timer);
          this.#waiting.delete(id);
          done(value);
        };
      this.#waiting.set(id, {
        resolve: settle(resolve as (answer: unknown) => void),
        reject: settle(reject),
      });
      this.#channel.send({ id, question, ask } satisfies Message);
    });
  }

  /** Rejects all questions that wait for the other process. */
  close(): void {
    for (const { reject } of this.#waiting.values()) reject(new Error("the other process has ended"));
  }

  async #receive({ id, question, ask, answer, failed }: Message): Promise<void> {
    if (question === undefined) {
      const waiting = this.#waiting.get(id);
      if (failed) waiting?.reject(new Error("the other process could not answer"));
      else waiting?.resolve(answer);
      return;
    }
    const handle = this.#handlers[question] as ((ask: unknown) => Promise<unknown>) | undefined;
    const reply = await (handle?.(ask) ?? Promise.reject(new Error(`nobody answers "${question}"`))).then(
      (given): Message => ({ id, answer: given }),
      (): Message => ({ id, failed: true }),
    );
    if (this.#channel.isConnected()) this.#channel.send(reply);
  }
}
