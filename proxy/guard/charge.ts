import { FINEST_SLICE, SLICE_FACTOR, SLICE_LEVELS, SLICES_READ } from "./windows.ts";

/** How many keys `CHARGE` takes. One hash tag puts a user's three keys in one slot of a Redis Cluster. */
export const CHARGE_KEYS = 3;

/**
 * Counts the longest run of leading rows that fits every window, in one step of Redis (6.2 or newer, for
 * ZMSCORE and ZADD GT). The clock is Redis' own, so proxies with wrong clocks agree; scripts are
 * replicated by their effects (Redis docs, "Scripting with Lua", script replication).
 *
 * KEYS: people (sorted set: person, time of the last read), rows (hash: "slice:index", rows), keep (for how
 * long history is of use to any of the user's roles).
 * ARGV: rows, unknown people per row, a prefix that makes them unique, keep, number of people windows,
 * number of rows windows; for each people window span, limit; for each rows window span, limit, slice;
 * then for each person of the batch, in order of first appearance: row (from 0), person.
 * Reply: rows counted, position of the window that stopped the next one (0: none), used in it, time at
 * which that row fits. Times are milliseconds.
 *
 * Numbers that become text by `..` must stay below 14 digits (Lua's "%.14g"): milliseconds do until 5138.
 */
export const CHARGE = `
local peopleKey, rowsKey, keepKey = KEYS[1], KEYS[2], KEYS[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local position = 0
local function argument()
  position = position + 1
  return ARGV[position]
end
local function number() return tonumber(argument()) end

local rows, unknown, prefix, keep = number(), number(), argument(), number()
local windows, peopleWindows, rowsWindows = {}, number(), number()
for _ = 1, peopleWindows do
  windows[#windows + 1] = { span = number(), limit = number() }
end
for _ = 1, rowsWindows do
  windows[#windows + 1] = { span = number(), limit = number(), slice = number() }
end
local rowOf, person = {}, {}
while position < #ARGV do
  rowOf[#rowOf + 1] = number()
  person[#person + 1] = argument()
end

-- Another role of this user may look further back than this one: what it needs is not thrown away.
local kept = tonumber(redis.call('GET', keepKey) or '0')
if keep >= kept then
  redis.call('SET', keepKey, keep, 'PX', math.max(keep, 1))
else
  keep = kept
end

-- Calls a command with many arguments in portions: Lua's stack holds 8000.
local function inPortions(list, size, call)
  for from = 1, #list, size do
    call(unpack(list, from, math.min(from + size - 1, #list)))
  end
end

-- 1. What is used. No upper bound: after a step back of the clock, later reads still count.
local peopleUsed = peopleWindows > 0
if peopleUsed then
  redis.call('ZREMRANGEBYSCORE', peopleKey, '-inf', now - keep)
end
local function livingSlices(window)
  local fields, first = {}, math.floor((now - window.span) / window.slice)
  for index = first, math.floor(now / window.slice) do
    fields[#fields + 1] = window.slice .. ':' .. index
  end
  return redis.call('HMGET', rowsKey, unpack(fields)), first
end
for _, window in ipairs(windows) do
  window.used = 0
  if window.slice then
    for _, count in ipairs(livingSlices(window)) do
      window.used = window.used + (tonumber(count or '0') or 0)
    end
  else
    window.used = redis.call('ZCOUNT', peopleKey, '(' .. now - window.span, '+inf')
  end
end
local lastRead = {}
inPortions(person, 1000, function(...)
  for _, score in ipairs(redis.call('ZMSCORE', peopleKey, ...)) do
    lastRead[#lastRead + 1] = tonumber(score or '0') or 0
  end
end)

-- 2. The longest run: a row that adds nothing to a window is never stopped by it.
local counted, following, stopped = 0, 1, false
while counted < rows and not stopped do
  local after = following
  while rowOf[after] == counted do after = after + 1 end
  for _, window in ipairs(windows) do
    local cost = 1
    if not window.slice then
      cost = unknown
      for i = following, after - 1 do
        if lastRead[i] <= now - window.span then cost = cost + 1 end
      end
    end
    window.cost = cost
    window.full = cost > 0 and window.used + cost > window.limit
    stopped = stopped or window.full
  end
  if not stopped then
    for _, window in ipairs(windows) do window.used = window.used + window.cost end
    counted, following = counted + 1, after
  end
end

-- 3. Count them.
if counted > 0 and peopleUsed then
  local added = {}
  for i = 1, following - 1 do
    added[#added + 1] = now
    added[#added + 1] = person[i]
  end
  for i = 1, unknown * counted do
    added[#added + 1] = now
    added[#added + 1] = prefix .. i
  end
  inPortions(added, 2000, function(...) redis.call('ZADD', peopleKey, 'GT', ...) end)
end
if counted > 0 and rowsWindows > 0 then
  local sweep = false
  for level = 0, ${SLICE_LEVELS - 1} do
    local slice = ${FINEST_SLICE} * ${SLICE_FACTOR} ^ level
    local field = slice .. ':' .. math.floor(now / slice)
    local first = redis.call('HINCRBY', rowsKey, field, counted) == counted
    -- Dead buckets go when a slice of 16 seconds begins: often enough to stay small, seldom enough to be cheap.
    if level == 4 and first then sweep = true end
  end
  if sweep then
    local dead = {}
    for _, field in ipairs(redis.call('HKEYS', rowsKey)) do
      local slice, index = string.match(field, '^(%d+):(%d+)$')
      if (index + 1) * slice <= now - math.min(keep, ${SLICES_READ} * slice) then dead[#dead + 1] = field end
    end
    inPortions(dead, 1000, function(...) redis.call('HDEL', rowsKey, ...) end)
  end
  redis.call('PEXPIRE', rowsKey, keep)
end
if peopleUsed then redis.call('PEXPIRE', peopleKey, keep) end
if not stopped then return { counted, 0, 0, 0 } end

-- 4. Which window stopped the next row: of several, the one that makes it wait longest.
local function peopleFit(window)
  local rank = math.min(window.used + window.cost - window.limit, window.used) - 1
  local entry = redis.call('ZRANGEBYSCORE', peopleKey, '(' .. now - window.span, '+inf',
    'WITHSCORES', 'LIMIT', math.max(rank, 0), 1)
  return entry[2] and tonumber(entry[2]) + window.span or now
end
local function rowsFit(window)
  local counts, first = livingSlices(window)
  local left = window.used
  for i, count in ipairs(counts) do
    left = left - (tonumber(count or '0') or 0)
    if left + 1 <= window.limit or left == 0 then return (first + i) * window.slice + window.span end
  end
  return now
end
local which, frees = 0, -1
for i, window in ipairs(windows) do
  if window.full then
    local fits = window.slice and rowsFit(window) or peopleFit(window)
    if fits > frees then which, frees = i, fits end
  end
end
return { counted, which, windows[which].used, frees }
`;
