import { Worker } from "node:worker_threads";
import type { LeakAnswer } from "../audit/leak.ts";
import { type LeakTask, TOO_SLOW } from "./leak-task.ts";

/** The compiled thread. */
export const LEAK_THREAD = new URL("./leak-thread.js", import.meta.url);

/** Beside the time limits of log and database, for what is computed: in milliseconds. */
const DEADLINE = 180_000;
/** A list of 50,000 people with 200,000 to compare them with takes a third of it. */
const MEGABYTES = 768;

/**
 * Answers a question about a leaked list in a thread of its own, which ends with it: clients do not wait, and the list is
 * gone. Rejects when the thread is lost.
 */
export function askInThread(thread: URL, task: LeakTask, deadline = DEADLINE): Promise<LeakAnswer> {
  const worker = new Worker(thread, {
    workerData: task,
    resourceLimits: { maxOldGenerationSizeMb: MEGABYTES },
  });
  worker.unref();
  return new Promise<LeakAnswer>((resolve, reject) => {
    const timer = setTimeout(
      () => resolve({ ok: false, problem: TOO_SLOW, why: `no answer within ${deadline} ms` }),
      deadline,
    );
    timer.unref();
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", () => reject(new Error("the thread of the question ended without an answer")));
    worker.once("exit", () => clearTimeout(timer));
  }).finally(() => worker.terminate());
}
