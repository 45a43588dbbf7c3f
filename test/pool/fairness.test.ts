import type { Socket } from "node:net";
import { Duplex } from "node:stream";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Asker, NoConnection, type Startup } from "../../proxy/pool/asker.ts";
import { KEPT_MS, Pool } from "../../proxy/pool/pool.ts";
import type { Opened, ServerConnection } from "../../proxy/pool/server-connection.ts";
import type { Upstream } from "../../proxy/wire/upstream.ts";

/*
 * The pool by itself, in a time of the test's own: whatever mix of clients comes, each is served within a time that follows
 * from how many came before it, and the server sees few logins.
 */

beforeEach(() => {
  vi.useFakeTimers({
    toFake: ["setTimeout", "clearTimeout", "setImmediate", "clearImmediate", "performance"],
  });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Numbers that look random and are the same at every run (mulberry32). */
function randomFrom(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

class Silent extends Duplex {
  onLeft: () => void = () => {};
  override _read(): void {}
  override _write(_chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    done();
  }
  destroySoon(): void {
    this.onLeft();
    this.onLeft = () => {};
    this.destroy();
  }
}

const AT = {} as Upstream;

function opened(onLeft: () => void): Opened {
  const socket = new Silent();
  socket.onLeft = onLeft;
  return {
    socket: socket as unknown as Socket,
    rest: Buffer.alloc(0),
    parameters: new Map(),
    key: undefined,
    at: AT,
    accepts: () => true,
    leaveHost: () => {},
    suspect: () => {},
  };
}

interface Mix {
  readonly seed: number;
  readonly size: number;
  readonly kinds: number;
  readonly clients: number;
  /** At most, in milliseconds. */
  readonly hold: number;
  readonly pause: number;
  readonly login: number;
  /** One login of so many fails; 0: none. */
  readonly failing: number;
  /** One client of so many gives up waiting; 0: none. */
  readonly leaving: number;
  /** One transaction of so many breaks its connection; 0: none. */
  readonly breaking: number;
}

interface Seen {
  readonly transactions: number;
  /** How much longer than allowed the one waited who waited longest beyond it; negative: nobody did. */
  readonly beyond: number;
  readonly logins: number;
  readonly mostOpen: number;
  readonly starved: number;
}

/** Lets the clients of a mix work for so long, and then lets all who wait come to an end. */
async function live(mix: Mix, forMs: number): Promise<Seen> {
  const random = randomFrom(mix.seed);
  let [logins, open, mostOpen, transactions, waiting, beyond] = [0, 0, 0, 0, 0, Number.NEGATIVE_INFINITY];
  const end = performance.now() + forMs;
  const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
  const pool = new Pool({
    size: mix.size,
    waitMs: 3_600_000,
    open: async () => {
      logins++;
      open++;
      mostOpen = Math.max(mostOpen, open);
      await sleep(1 + random(mix.login));
      if (mix.failing > 0 && random(mix.failing) === 0) {
        open--;
        throw new NoConnection(Buffer.alloc(0), "57P03");
      }
      return opened(() => open--);
    },
    onFault: (error) => {
      throw error;
    },
  });
  /** Whoever is the oldest of all waits for a transaction, for a place to be old enough, twice, and for a login. */
  const turn = 2 * (mix.hold + KEPT_MS) + mix.login + 10;

  const transaction = async (startup: Startup): Promise<void> => {
    const start = performance.now();
    const before = waiting++;
    const connection = await new Promise<ServerConnection | undefined>((resolve) => {
      const asker: Asker = { granted: resolve, failed: () => resolve(undefined) };
      const leaves = mix.leaving > 0 && random(mix.leaving) === 0;
      const found = pool.take(asker, startup);
      if (found !== undefined) resolve(found);
      else if (leaves) {
        setTimeout(() => {
          pool.forget(asker);
          resolve(undefined);
        }, random(mix.hold));
      }
    });
    waiting--;
    beyond = Math.max(beyond, performance.now() - start - (before + 1) * turn);
    if (connection === undefined) return;
    expect(connection.startup).toBe(startup.key);
    connection.lend({ arrived: () => {}, lost: () => {}, mayStream: () => false });
    await sleep(random(mix.hold));
    connection.giveUp();
    transactions++;
    if (mix.breaking > 0 && random(mix.breaking) === 0) pool.discard(connection);
    else pool.release(connection);
  };
  const client = async (at: number): Promise<void> => {
    const startup = { key: `kind ${at % mix.kinds}`, packet: Buffer.alloc(0) };
    while (performance.now() < end) {
      await transaction(startup);
      await sleep(random(mix.pause));
    }
  };
  const all = Promise.all(Array.from({ length: mix.clients }, (_, at) => client(at)));
  await vi.advanceTimersByTimeAsync(forMs + (mix.clients + 1) * turn);
  const starved = waiting;
  if (starved === 0) await all;
  pool.close();
  return { transactions, beyond, logins, mostOpen, starved };
}

describe("everybody is served in bounded time", () => {
  test.each(Array.from({ length: 50 }, (_, seed) => seed))("of mix %i", async (seed) => {
    const random = randomFrom(1000 + seed);
    const mix: Mix = {
      seed,
      size: 1 + random(5),
      kinds: 1 + random(8),
      clients: 1 + random(20),
      hold: 1 + random(60),
      pause: 1 + random(random(2) === 0 ? 3 : 200),
      login: 1 + random(30),
      failing: random(3) === 0 ? 4 : 0,
      leaving: random(3) === 0 ? 5 : 0,
      breaking: random(3) === 0 ? 50 : 0,
    };
    const seconds = 5;
    const seen = await live(mix, seconds * 1000);
    expect(seen, JSON.stringify(mix)).toMatchObject({ starved: 0 });
    expect(seen.beyond, JSON.stringify(mix)).toBeLessThanOrEqual(0);
    expect(seen.mostOpen).toBeLessThanOrEqual(mix.size);
    expect(seen.transactions).toBeGreaterThan(10);
    // Each place changes its kind that seldom; what is broken is replaced, and what failed was asked for by one who waited.
    const replaced =
      (mix.failing > 0 ? Number.POSITIVE_INFINITY : 0) + (mix.breaking > 0 ? seen.transactions / 20 : 0);
    expect(seen.logins, JSON.stringify(mix)).toBeLessThanOrEqual(
      mix.size * (2 + (1.2 * seconds * 1000) / KEPT_MS) + replaced,
    );
  });
});

const MIX: Mix = {
  seed: 1,
  size: 2,
  kinds: 3,
  clients: 3,
  hold: 2,
  pause: 1,
  login: 6,
  failing: 0,
  leaving: 0,
  breaking: 0,
};

test("three kinds on two places: most of the time is work, and not logins", async () => {
  const seen = await live(MIX, 4_000);
  expect(seen.starved).toBe(0);
  expect(seen.logins).toBeLessThanOrEqual(2 * (1 + 4_000 / KEPT_MS));
  expect(seen.transactions).toBeGreaterThan(1_000);
});

test("one kind on all places logs in once for each", async () => {
  const seen = await live({ ...MIX, kinds: 1, size: 4, clients: 20, seed: 7 }, 4_000);
  expect(seen.logins).toBe(4);
});

test("a rare kind gets its turn beside a kind that never rests", async () => {
  const seen = await live({ ...MIX, kinds: 2, clients: 2, size: 1, hold: 40, pause: 1 }, 4_000);
  expect(seen.starved).toBe(0);
  expect(seen.beyond).toBeLessThanOrEqual(0);
});
