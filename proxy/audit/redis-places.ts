import type { Log } from "../log.ts";
import type { AnchorSink } from "./anchor.ts";
import type { Sink } from "./sinks.ts";

/** What of a Redis client is used here (ioredis): so this floor needs not know how one connects. */
export interface RedisStreams {
  call(command: string, ...args: (string | number)[]): Promise<unknown>;
  disconnect(): void;
}

export const EVENTS_STREAM = "sluice:audit";
export const ANCHORS_STREAM = "sluice:audit:anchors";
/** Ten seconds apart: a week of ten writers. */
const ANCHORS_KEPT = 600_000;

/**
 * One Redis stream for the whole fleet: an entry a line, field `line`, as it is in the files. Readers are
 * consumer groups' (Redis docs, "Redis Streams"); old entries go when there are about `length`.
 */
export function redisSink(client: RedisStreams, length: number): Sink {
  return {
    name: "redis",
    async write(lines) {
      // Sent without waiting for each other; ioredis writes them in this order.
      const sent = lines.map((line) =>
        client.call("XADD", EVENTS_STREAM, "MAXLEN", "~", length, "*", "line", line.trimEnd()),
      );
      const results = await Promise.allSettled(sent);
      const failed = results.find((result) => result.status === "rejected");
      if (failed !== undefined) throw failed.reason;
    },
    close: () => client.disconnect(),
  };
}

/** Anchors go to Redis, out of reach of who can write the folder, and to the operational log. */
export function anchorsTo(client: RedisStreams, log: Log): AnchorSink {
  return async (anchor) => {
    log.info({ anchor }, "audit anchor");
    await client.call(
      "XADD",
      ANCHORS_STREAM,
      "MAXLEN",
      "~",
      ANCHORS_KEPT,
      "*",
      "anchor",
      JSON.stringify(anchor),
    );
  };
}

/** The lines of all anchors that Redis still has, for `readAnchors`. */
export async function anchorLines(client: RedisStreams): Promise<string> {
  const entries = (await client.call("XRANGE", ANCHORS_STREAM, "-", "+")) as readonly [string, string[]][];
  return entries.map(([, [, anchor]]) => anchor).join("\n");
}
