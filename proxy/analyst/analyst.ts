import { setImmediate } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { partsOf } from "../catalog/assembled.ts";
import type { Catalog } from "../catalog/catalog.ts";
import type { Analysed, Elsewhere } from "../sql/cache.ts";
import type { Scope } from "../sql/scope.ts";
import type { Residue } from "../sql/session-residue.ts";
import type { Verdict } from "../sql/verdict.ts";
import { unanalysed } from "../sql/watched-text.ts";
import { type Refusal, refuse } from "../wire/refusal.ts";
import {
  CATALOG_LISTS,
  type FromThread,
  type ResidueFromThread,
  type SentScope,
  type ToThread,
} from "./thread-messages.ts";

/** The compiled thread. */
export const ANALYST_THREAD = new URL("./thread.js", import.meta.url);

export interface AnalystOptions {
  /** The compiled `thread.ts`: `ANALYST_THREAD`, unless the program runs from its sources. */
  readonly thread: URL;
  /** How long the analysis of a text may take, in milliseconds; `DEADLINE` if absent. */
  readonly deadline?: number;
  /** How many bytes all waiting texts may have together; `MOST_WAITING` if absent. */
  readonly mostWaiting?: number;
  /** Called when the thread ends unexpectedly, or is ended because it does not answer. */
  readonly onLost: (why: string) => void;
}

/**
 * In milliseconds. An analysis within the bounds of `effort.ts` takes a second or two: much longer on a busy machine.
 */
const DEADLINE = 30_000;
const MOST_WAITING = 64 * 1024 * 1024;
/** An unused thread ends after this time (milliseconds), because it holds a parser and a catalog. */
const IDLE = 60_000;
/** The number of items of a catalog that are copied in one turn of the event loop. */
const PIECE = 200;
/** The number of catalogs that the thread holds at a time. */
const MOST_CATALOGS = 4;
/** The analysis of a text of 250 kB needs about 100 MB. */
const MEGABYTES = 512;

/** A text that waits for the thread, or is with it. */
interface PendingText {
  readonly text: string;
  readonly catalog: Catalog;
  /** What the thread is asked about it. */
  readonly question: (catalog: number) => ToThread;
  readonly answered: (answer: FromThread | ResidueFromThread | Missing) => void;
}

/** Why there is no answer: the thread takes too long, or is gone. */
type Missing = "late" | "gone";

/**
 * Analyses long texts in a thread of its own, one after the other, so that other sessions do not wait. A text that
 * cannot be analysed, because the thread has died, takes too long or has too much to do, is refused. Watched roles are
 * never refused: such a text of theirs is charged by its size.
 */
export class Analyst implements Elsewhere {
  readonly #options: AnalystOptions;
  readonly #waiting: PendingText[] = [];
  #waitingBytes = 0;
  #isBusy = false;
  #isClosed = false;
  #worker: Worker | undefined;
  #idle: NodeJS.Timeout | undefined;
  readonly #ids = new WeakMap<Catalog, number>();
  #lastId = 0;
  /** The catalogs that the thread holds, oldest first. */
  #sent: number[] = [];

  constructor(options: AnalystOptions) {
    this.#options = options;
  }

  /** Never rejects. */
  analyse(text: string, scope: Scope): Promise<Analysed> {
    if (!this.#takes(text)) return Promise.resolve(without(text, scope, CROWDED));
    return new Promise((done) => {
      this.#ask({
        ...{ text, catalog: scope.catalog },
        question: (catalog) => ({ kind: "text", text, catalog, scope: sentScope(scope) }),
        answered: (answer) => {
          if (typeof answer === "object" && "verdict" in answer) done(whole(answer));
          else done(without(text, scope, answer === "late" ? LATE : AWAY));
        },
      });
    });
  }

  /** What a text leaves behind in its session; undefined if that cannot be found out now. Never rejects. */
  residue(text: string, catalog: Catalog): Promise<Residue | undefined> {
    if (!this.#takes(text)) return Promise.resolve(undefined);
    return new Promise((done) => {
      this.#ask({
        ...{ text, catalog },
        question: (id) => ({ kind: "residue", text, catalog: id }),
        answered: (answer) =>
          done(typeof answer === "object" && "residue" in answer ? answer.residue : undefined),
      });
    });
  }

  #takes(text: string): boolean {
    const { mostWaiting = MOST_WAITING } = this.#options;
    return !this.#isClosed && this.#waitingBytes + text.length <= mostWaiting;
  }

  #ask(waiting: PendingText): void {
    this.#waitingBytes += waiting.text.length;
    this.#waiting.push(waiting);
    void this.#work();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#end();
  }

  async #work(): Promise<void> {
    if (this.#isBusy) return;
    this.#isBusy = true;
    clearTimeout(this.#idle);
    // The list is hardly longer than the number of sessions: each waits for its text.
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      next.answered(await this.#answerTo(next));
      this.#waitingBytes -= next.text.length;
    }
    this.#isBusy = false;
    this.#idle = setTimeout(() => void this.#end(), IDLE);
    this.#idle.unref();
  }

  async #answerTo({ catalog, question }: PendingText): Promise<FromThread | ResidueFromThread | Missing> {
    if (this.#isClosed) return "gone";
    try {
      const worker = this.#worker ?? this.#start();
      const id = await this.#carry(worker, catalog);
      const answered = this.#answer(worker);
      post(worker, question(id));
      return await answered;
    } catch (error) {
      // The thread cannot be started, or a message to it cannot be copied.
      this.#lost(error instanceof Error ? error.message : String(error));
      return "gone";
    }
  }

  #start(): Worker {
    const worker = new Worker(this.#options.thread, {
      resourceLimits: { maxOldGenerationSizeMb: MEGABYTES },
    });
    worker.unref();
    this.#worker = worker;
    this.#sent = [];
    worker.on("error", ({ message }) => this.#lost(message, worker));
    worker.on("exit", () => {
      if (this.#worker === worker) this.#worker = undefined;
    });
    return worker;
  }

  /** Sends the catalog unless the thread has it: in pieces, because a large one takes many milliseconds to copy. */
  async #carry(worker: Worker, catalog: Catalog): Promise<number> {
    const id = this.#ids.get(catalog) ?? ++this.#lastId;
    this.#ids.set(catalog, id);
    if (this.#sent.includes(id)) return id;
    this.#sent.push(id);
    const { relations, functions, types, ...rest } = partsOf(catalog);
    const forget = this.#sent.splice(0, this.#sent.length - MOST_CATALOGS);
    post(worker, { kind: "catalog", id, rest, forget });
    const lists = { relations, functions, types };
    for (const list of CATALOG_LISTS) {
      for (let at = 0; at < lists[list].length; at += PIECE) {
        await setImmediate();
        post(worker, { kind: "piece", id, list, piece: lists[list].slice(at, at + PIECE) });
      }
    }
    return id;
  }

  /** The thread's next answer. "gone": the thread has ended before answering. */
  #answer(worker: Worker): Promise<FromThread | ResidueFromThread | Missing> {
    const { deadline = DEADLINE } = this.#options;
    // The thread ended while the catalog was being sent.
    if (this.#worker !== worker) return Promise.resolve("gone");
    return new Promise((resolve) => {
      const end = (answer: FromThread | ResidueFromThread | Missing) => {
        clearTimeout(timer);
        worker.off("message", end).off("exit", onExit);
        resolve(answer);
      };
      const onExit = () => end("gone");
      const timer = setTimeout(() => {
        this.#lost(`a text takes longer than ${deadline} ms`, worker);
        end("late");
      }, deadline);
      worker.once("message", end).once("exit", onExit);
    });
  }

  /** Gives the thread up: the next text gets another one. */
  #lost(why: string, worker = this.#worker): void {
    this.#options.onLost(why);
    if (worker === undefined || worker !== this.#worker) return;
    void this.#end();
  }

  async #end(): Promise<void> {
    clearTimeout(this.#idle);
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
  }
}

function post(worker: Worker, message: ToThread): void {
  worker.postMessage(message);
}

/**
 * The analysis does not need a role's users or the list of roles, and those contain functions, which cannot be copied.
 */
function sentScope({ catalog: _, maskKey, ...scope }: Scope): SentScope {
  const { unknownUsers: __, ...policy } = scope.policy;
  return {
    ...scope,
    policy: { ...policy, roles: new Map() },
    role: { ...scope.role, from: [] },
    // A view into shared memory would be copied together with all of that memory.
    maskKey: maskKey && new Uint8Array(maskKey),
  };
}

/** Restores the verdict that the thread made: a copied Buffer is a plain byte array. */
function whole({ verdict, ...rest }: FromThread): Analysed {
  return {
    ...rest,
    verdict: verdict.kind === "rewrite" ? { ...verdict, sql: bufferOf(verdict.sql) } : verdict,
    isLasting: true,
  };
}

function bufferOf({ buffer, byteOffset, byteLength }: Uint8Array): Buffer {
  return Buffer.from(buffer, byteOffset, byteLength);
}

function without(text: string, scope: Scope, refusal: Refusal): Analysed {
  const verdict: Verdict =
    scope.role.watch === true ? unanalysed(text, scope) : { kind: "refuse", statements: [], refusal };
  return { verdict, isShared: false, leftovers: [], isLasting: false };
}

const AWAY = refuse("58000", "the statement cannot be analysed now", { hint: "Send it again." });
const CROWDED = refuse("58000", "too many long statements are waiting to be analysed", {
  hint: "Send it again later, or send long lists as an array parameter (= ANY ($1)), or as the rows of COPY … FROM STDIN.",
});
const LATE = refuse("54001", "the statement takes too long to analyse", {
  hint: "Split the statement, or send long lists as an array parameter (= ANY ($1)), or as the rows of COPY … FROM STDIN.",
});
