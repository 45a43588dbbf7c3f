/**
 * The time by which a fleet's counters slide. It goes on as Redis' own clock does, so that proxies with wrong clocks
 * agree, but never back, and never further than the proxy that asks can vouch for: it knows how much time has passed
 * since Redis last told it the time. So a clock of Redis that jumps (a virtual machine that was stopped, a fail-over
 * to a server with another clock, a hand that slipped) neither frees budgets nor holds people for longer.
 */

/** How far a step may pass what is vouched for: a command may take so much longer than the one before. */
const SLACK = 1_000;

/** How far Redis' clock may jump ahead before Redis itself takes the counters for expired. */
const SPARE = 45 * 86_400_000;

/**
 * Sets `now`, the counters' time; `skipped`, how far Redis' clock went another way; `began`, 1 where there is no time
 * although the proxy was told one: the counters are lost; and `expiry(keep)`, the time of Redis at which a key may go. KEYS[1] is where the
 * time is kept; it never expires. ARGV[1] is the proxy's own time, ARGV[2] the latest that the counters' time can be
 * by what it was last told, or -1 if it was told nothing yet: then how much later its own time is than that of the
 * last proxy stands in. All in milliseconds.
 */
export const SHARED_CLOCK = `
local time, own, latest = redis.call('TIME'), tonumber(ARGV[1]), tonumber(ARGV[2])
local redisTime = time[1] * 1000 + math.floor(time[2] / 1000)
local now, skipped, began = redisTime, 0, 0
local last = redis.call('HMGET', KEYS[1], 'now', 'redis', 'proxy')
if last[1] then
  local passed = redisTime - last[2]
  local vouched = (latest >= 0 and latest - last[1] or own - last[3]) + ${SLACK}
  local step = math.max(0, math.min(passed, vouched))
  now = last[1] + step
  skipped = passed - step
elseif latest >= 0 then
  began = 1
end
redis.call('HSET', KEYS[1], 'now', now, 'redis', redisTime, 'proxy', own)

-- Redis goes by its own clock when it expires keys: it must be wrong by a lot, against every other clock.
local function expiry(keep)
  return math.max(redisTime, now, own) + keep + ${SPARE}
end
`;

/** What one proxy knows of the counters' time of each database. */
export class Witness {
  readonly #told = new Map<string, { readonly now: number; readonly at: number }>();

  /** The latest that it can be; -1 if Redis never told. */
  latest(database: string, at: number): number {
    const told = this.#told.get(database);
    return told === undefined ? -1 : told.now + Math.max(0, at - told.at);
  }

  /** `at` is the proxy's own time at which it asked. */
  told(database: string, now: number, at: number): void {
    this.#told.set(database, { now, at });
  }
}

/** True where Redis' clock went another way than the time that passed. */
export function hasJumped(skipped: number): boolean {
  return Math.abs(skipped) > SLACK;
}
