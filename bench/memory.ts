import { setTimeout } from "node:timers/promises";
import { table } from "./figures.ts";
import type { Reached } from "./point-queries.ts";
import { usageOf } from "./processes.ts";
import { openClient, type RawClient } from "./raw-client.ts";
import type { RunningProxy } from "./targets.ts";

export interface Idle {
  readonly what: string;
  readonly connections: number;
  /** kB for each connection, a second after the last login. */
  readonly soon: number;
  /** The same once nothing has been asked for a while, and V8 has seen to what the logins left. */
  readonly atRest: number;
}

export interface IdleTarget {
  readonly what: string;
  readonly proxy: RunningProxy;
  readonly user: string;
}

/** How much proxies grow by so many connections each that do nothing, and then rest for so many milliseconds. */
export async function measureIdle(
  targets: readonly IdleTarget[],
  connections: number,
  rest: number,
): Promise<readonly Idle[]> {
  const clients: RawClient[] = [];
  const open = async ({ proxy, user }: IdleTarget, count: number) => {
    for (let i = 0; i < count; i++) clients.push(await openClient(proxy.port, user));
  };
  try {
    const opened = [];
    for (const target of targets) {
      // What the first ones load and compile is not the price of a connection.
      await open(target, 20);
      const before = (await usageOf(target.proxy.pid)).resident;
      const grown = async () => ((await usageOf(target.proxy.pid)).resident - before) / connections;
      await open(target, connections);
      await setTimeout(1_000);
      opened.push({ what: target.what, soon: await grown(), grown });
    }
    await setTimeout(rest);
    return await Promise.all(
      opened.map(async ({ what, soon, grown }) => ({ what, connections, soon, atRest: await grown() })),
    );
  } finally {
    for (const { socket } of clients) socket.destroy();
  }
}

export function describeIdle(idles: readonly Idle[]): string {
  const rows = idles.map(({ what, connections, soon, atRest }) => [
    ...[what, String(connections), soon.toFixed(1), atRest.toFixed(1)],
  ]);
  return table(["through", "idle connections", "kB each after 1 s", "kB each at rest"], rows);
}

export function judgeIdle(idles: readonly Idle[]): readonly Reached[] {
  return idles
    .filter(({ what }) => what === "app" || what === "guarded")
    .map(({ what, connections, soon, atRest }) => ({
      what: `${what}: an idle connection, of ${connections}, at rest (a second after the last login)`,
      target: "< 10 kB",
      reached: `${atRest.toFixed(1)} kB (${soon.toFixed(1)})`,
      holds: atRest < 10,
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
