import { setTimeout } from "node:timers/promises";
import { table } from "./figures.ts";
import type { Reached } from "./point-queries.ts";
import { usageOf } from "./processes.ts";
import { openClient, type RawClient } from "./raw-client.ts";
import type { RunningProxy } from "./targets.ts";

export interface Idle {
  readonly what: string;
  readonly connections: number;
  /** kB for each connection. */
  readonly each: number;
}

/** How much a proxy grows by so many connections that do nothing. */
export async function measureIdle(
  what: string,
  proxy: RunningProxy,
  user: string,
  connections: number,
): Promise<Idle> {
  const clients: RawClient[] = [];
  try {
    // What the first ones load and compile is not the price of a connection.
    while (clients.length < 20) clients.push(await openClient(proxy.port, user));
    const before = await usageOf(proxy.pid);
    const first = clients.length;
    while (clients.length < first + connections) clients.push(await openClient(proxy.port, user));
    await setTimeout(1_000);
    const after = await usageOf(proxy.pid);
    return { what, connections, each: (after.resident - before.resident) / connections };
  } finally {
    for (const { socket } of clients) socket.destroy();
  }
}

export function describeIdle(idles: readonly Idle[]): string {
  const rows = idles.map(({ what, connections, each }) => [what, String(connections), each.toFixed(1)]);
  return table(["through", "idle connections", "kB each"], rows);
}

export function judgeIdle(idles: readonly Idle[]): readonly Reached[] {
  return idles
    .filter(({ what }) => what === "app" || what === "guarded")
    .map(({ what, connections, each }) => ({
      what: `${what}: an idle connection, of ${connections}`,
      target: "< 10 kB",
      reached: `${each.toFixed(1)} kB`,
      holds: each < 10,
    }));
}

export interface Slow {
  readonly what: string;
  readonly megabytes: number;
  /** MB resident: before, and the most while it streamed. */
  readonly before: number;
  readonly most: number;
}

export interface Stream {
  readonly user: string;
  /** The statement that gives so many megabytes, or a little more. */
  sql(megabytes: number): string;
  readonly megabytes: number;
  /** After so many milliseconds the client leaves, whatever is still to come. */
  readonly within: number;
}

/** A client that stops reading again and again while much data streams to it. */
export async function measureSlowReader(
  what: string,
  proxy: RunningProxy,
  { user, sql, megabytes, within }: Stream,
): Promise<Slow> {
  const client = await openClient(proxy.port, user);
  const { socket } = client;
  // Buffers of a first result are part of the process, not of its growth.
  client.ask(sql(50));
  await client.ready();
  const before = (await usageOf(proxy.pid)).resident;
  let [most, received, isOver] = [before, 0, false];
  const pauses = setInterval(() => {
    socket.pause();
    globalThis.setTimeout(() => socket.resume(), 50);
  }, 100);
  socket.on("data", (chunk: Buffer) => {
    received += chunk.length;
  });
  client.ask(sql(megabytes));
  const answered = client.ready();
  const done = Promise.race([answered, setTimeout(within)]).finally(() => {
    isOver = true;
  });
  // Who leaves early gets no end.
  answered.catch(() => {});
  while (!isOver) {
    await Promise.race([done, setTimeout(200)]);
    most = Math.max(most, (await usageOf(proxy.pid)).resident);
  }
  await done;
  clearInterval(pauses);
  socket.destroy();
  return { what, megabytes: received / 2 ** 20, before: before / 1024, most: most / 1024 };
}

/** Rows of a kilobyte, made as they are read. */
export function rowsOf(megabytes: number): string {
  return `COPY (SELECT repeat('x', 1000) FROM generate_series(1, ${megabytes * 1024})) TO STDOUT`;
}

export function describeSlow(slows: readonly Slow[]): string {
  const rows = slows.map(({ what, megabytes, before, most }) => [
    what,
    megabytes.toFixed(0),
    before.toFixed(0),
    most.toFixed(0),
  ]);
  return table(["role", "MB streamed", "MB resident before", "MB at most"], rows);
}

export function judgeSlow(slows: readonly Slow[]): readonly Reached[] {
  return slows.map(({ what, megabytes, before, most }) => ({
    what: `${what}: growth while ${(megabytes / 1024).toFixed(1)} GB stream to a slow reader`,
    target: "flat",
    reached: `${(most - before).toFixed(0)} MB`,
    // The garbage collector's own breathing.
    holds: most - before < 64,
  }));
}
