import { write } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import type { Sink } from "./sinks.ts";

const writeTo = promisify(write);
const STDOUT = 1;
const AGAIN_AFTER = 20;

/**
 * JSON lines on standard output. Not by `process.stdout`: to a pipe it writes synchronously (Node docs, "A note
 * on process I/O"), so that a reader who stops would stop the proxy.
 */
export function stdoutSink(descriptor: number = STDOUT): Sink {
  // Of the line that was cut by an error: how much is out already.
  let sent = 0;
  return {
    name: "stdout",
    async write(lines) {
      const bytes = Buffer.from(lines.join(""));
      while (sent < bytes.length) {
        try {
          const { bytesWritten } = await writeTo(descriptor, bytes, sent, bytes.length - sent, null);
          sent += bytesWritten;
        } catch (error) {
          // A pipe that somebody else made non-blocking (write(2)).
          if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
          await sleep(AGAIN_AFTER);
        }
      }
      sent = 0;
    },
    close() {},
  };
}
