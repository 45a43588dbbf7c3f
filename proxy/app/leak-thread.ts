/** The thread of one question about a leaked list: hashing and statistics of it take seconds. */
import { parentPort, workerData } from "node:worker_threads";
import { answerLeak, type LeakTask } from "./leak-task.ts";

parentPort?.postMessage(await answerLeak(workerData as LeakTask));
