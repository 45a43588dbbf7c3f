/**
 * The time that a fleet's sliding counters use. It advances as Redis' own clock does, so that proxies with wrong clocks
 * agree. But it never goes back, and never further ahead than the asking proxy can confirm: the proxy knows how much
 * time has passed since Redis last reported the time. So a jump of Redis' clock (a virtual machine that was stopped, a
 * failover to a server with another clock, a mistake by an operator) neither frees budgets nor holds people for longer.
 */

/**
 * How far a step may exceed the confirmed time, in milliseconds: one command may take this much longer than the one
 * before.
 */
const SLACK = 1_000;

/** How far Redis' clock may jump ahead before Redis itself expires the counters, in milliseconds. */
const SPARE = 45 * 86_400_000;

/**
 * Sets `now`, the counters' time; `skipped`, how far Redis' clock deviated from it; `began`, 1 if there is no time
 * although the proxy was told one before: the counters are lost; and `expiry(keep)`, the time of Redis at which a key
 * may expire. KEYS[1] holds the time; it never expires. ARGV[1] is the proxy's own time. ARGV[2] is the latest that the
 * counters' time can be, calculated from the time that the proxy last got, or -1 if it has got none: the difference
 * between its own time and that of the last proxy is then used instead. All in milliseconds.
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

/** What one proxy knows about the counters' time of each database. */
export class Witness {
  readonly #told = new Map<string, { readonly now: number; readonly at: number }>();

  /** The latest that the time can be; -1 if Redis has not reported it yet. */
  latest(database: string, at: number): number {
    const told = this.#told.get(database);
    return told === undefined ? -1 : told.now + Math.max(0, at - told.at);
  }

  /** `at` is the proxy's own time when it asked. */
  told(database: string, now: number, at: number): void {
    this.#told.set(database, { now, at });
  }
}

/** Whether Redis' clock deviated from the time that passed. */
export function hasJumped(skipped: number): boolean {
  return Math.abs(skipped) > SLACK;
}
