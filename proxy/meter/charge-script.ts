import { PERSON } from "../policy/price-units.ts";
import { FINEST_SLICE, SLICE_FACTOR, SLICE_LEVELS, SLICES, SLICES_READ } from "./budget-windows.ts";
import { SHARED_CLOCK } from "./shared-clock.ts";

/** The keys of one scope, in the order in which `CHARGE` takes them after the clock's. */
export const SCOPE_KEYS = ["people", "rows", "bytes", "lookups", "changes", "fraction", "keep"] as const;

/** Position of each measure in `SCOPE_KEYS`, from 1 as in Lua. Reveals are people of a scope of their own. */
export const MEASURES = { people: 1, rows: 2, bytes: 3, lookups: 4, changes: 5, reveals: 1 } as const;
const FRACTION = SCOPE_KEYS.indexOf("fraction") + 1;
const KEEP = SCOPE_KEYS.indexOf("keep") + 1;

/** 96 bits: short in Redis' memory; among a billion people the odds of a collision are 1 in 10^11. */
export const PERSON_BYTES = 12;

/** No batch is sent again after this many milliseconds. */
const RECEIPT_KEPT = 86_400_000;

/**
 * Counts the longest run of leading rows that fits every window of every scope (the user's own, their role's, their
 * address'), in one step of Redis (6.2 or newer, for ZMSCORE and ZADD GT). Scripts are replicated by their effects
 * (Redis docs, "Scripting with Lua", script replication), so a replica needs no clock.
 *
 * KEYS: the clock's; for each scope people (sorted set: person, time of the last read), rows, bytes, lookups, changes
 * (hashes: "slice:index", amount), fraction (see `prices.ts`), keep (for how long some policy of the scope needs the
 * history); a receipt's, if what is counted here may have been counted before.
 *
 * ARGV: two numbers for the clock, see `SHARED_CLOCK`; a prefix that makes unknown people unique; numbers with blanks
 * between them; the people of the batch one after the other, of 12 bytes each, in order of first appearance. The
 * numbers: rows, unknown people per row, the cost of each row in rows, in lookups, in changes, whether bytes are given,
 * whether units are given; number of scopes, number of windows; for each scope keep and whether it counts reveals; for each window scope, measure, span, limit, slice (0: people); the
 * bytes of each row, if given; the units of each row, if given; the row (from 0) of each person, and the position of the scope of reveals that counts
 * them (0: the others).
 *
 * Reply: rows counted, position of the window that stopped the next one (0: none), the amount used in it, the time
 * until that row fits; the current time, how far Redis' clock has jumped since it was last reported, and whether all
 * counts are lost; then the amount used of each window. All times are in milliseconds.
 *
 * Numbers that `..` turns into text must stay below 14 digits (Lua's "%.14g"): milliseconds do until the year 5138.
 */
export function chargeScript(clock: string): string {
  return `
${clock}
local prefix, numbers, position = ARGV[3], {}, 0
for each in string.gmatch(ARGV[4], '%S+') do numbers[#numbers + 1] = tonumber(each) end
local function number()
  position = position + 1
  return numbers[position]
end

local rows, unknown = number(), number()
local each = { 0, number(), 0, number(), number() }
local withBytes, withUnits = number() == 1, number() == 1
local scopes, windows, scopeCount, windowCount = {}, {}, number(), number()
for s = 1, scopeCount do
  scopes[s] = { keep = number(), kind = number() == 1 and s or 0, key = {}, counts = {}, fraction = 0, whole = 0 }
  for k = 1, ${SCOPE_KEYS.length} do scopes[s].key[k] = KEYS[1 + (s - 1) * ${SCOPE_KEYS.length} + k] end
end
for w = 1, windowCount do
  local window = { scope = scopes[number()], measure = number(), span = number(), limit = number(), slice = number() }
  window.scope.counts[window.measure] = true
  windows[w] = window
end
local bytesOf = {}
for row = 1, withBytes and rows or 0 do bytesOf[row] = number() end
local unitsOf = {}
for row = 1, withUnits and rows or 0 do unitsOf[row] = number() end
local rowOf, kindOf, person = {}, {}, {}
for i = 1, #(ARGV[5] or '') / ${PERSON_BYTES} do
  rowOf[i], kindOf[i] = number(), number()
  person[i] = string.sub(ARGV[5], ${PERSON_BYTES} * (i - 1) + 1, ${PERSON_BYTES} * i)
end

local receipt = KEYS[2 + scopeCount * ${SCOPE_KEYS.length}]
if receipt and redis.call('EXISTS', receipt) == 1 then
  local reply = { rows, 0, 0, 0, now, skipped, began }
  for w = 1, windowCount do reply[#reply + 1] = 0 end
  return reply
end

-- Another policy of this scope may look further back than this one: what it needs is not thrown away.
for _, scope in ipairs(scopes) do
  local keepKey = scope.key[${KEEP}]
  local kept = tonumber(redis.call('GET', keepKey) or '0')
  if scope.keep >= kept then
    redis.call('SET', keepKey, scope.keep, 'PXAT', expiry(scope.keep))
  else
    scope.keep = kept
  end
end

-- Calls a command with many arguments in portions: Lua's stack holds 8000.
local function inPortions(list, size, call)
  for from = 1, #list, size do
    call(unpack(list, from, math.min(from + size - 1, #list)))
  end
end

-- 1. What is used.
-- Amounts stand in slices of every length, so one whole slice of the next length is read in place of ${SLICE_FACTOR}: some 20
-- fields for a window of 240 slices.
local function amountUsed(window)
  local fields, size = {}, window.slice
  local first, last = math.floor((now - window.span) / size), math.floor(now / size)
  local function read(index) fields[#fields + 1] = size .. ':' .. index end
  while last - first >= ${2 * SLICE_FACTOR} and size < ${SLICES.at(-1)} do
    while first % ${SLICE_FACTOR} ~= 0 do read(first) first = first + 1 end
    while (last + 1) % ${SLICE_FACTOR} ~= 0 do read(last) last = last - 1 end
    size, first, last = size * ${SLICE_FACTOR}, first / ${SLICE_FACTOR}, (last + 1) / ${SLICE_FACTOR} - 1
  end
  for index = first, last do read(index) end
  local used = 0
  for _, amount in ipairs(redis.call('HMGET', window.scope.key[window.measure], unpack(fields))) do
    used = used + (tonumber(amount or '0') or 0)
  end
  return used
end
local function livingSlices(window)
  local fields, first = {}, math.floor((now - window.span) / window.slice)
  for index = first, math.floor(now / window.slice) do
    fields[#fields + 1] = window.slice .. ':' .. index
  end
  return redis.call('HMGET', window.scope.key[window.measure], unpack(fields)), first
end
for _, scope in ipairs(scopes) do
  scope.lastRead = {}
  if scope.counts[1] then
    redis.call('ZREMRANGEBYSCORE', scope.key[1], '-inf', now - scope.keep)
    if withUnits then scope.fraction = tonumber(redis.call('GET', scope.key[${FRACTION}]) or '0') end
    local own, places = {}, {}
    for i = 1, #person do
      if kindOf[i] == scope.kind then own[#own + 1], places[#own + 1] = person[i], i end
    end
    local read = 0
    inPortions(own, 1000, function(...)
      for _, score in ipairs(redis.call('ZMSCORE', scope.key[1], ...)) do
        read = read + 1
        scope.lastRead[places[read]] = tonumber(score or '0') or 0
      end
    end)
  end
end
for _, window in ipairs(windows) do
  window.used = window.slice > 0 and amountUsed(window)
    or redis.call('ZCOUNT', window.scope.key[1], '(' .. now - window.span, '+inf')
end

-- 2. The longest run: a row that adds nothing to a window is never stopped by it.
local counted, following, stopped, bytes = 0, 1, false, 0
-- How many people there must be room for, so that there is room for the next row's units.
local function peopleFor(scope)
  local units = unitsOf[counted + 1] or 0
  if units == 0 or scope.kind > 0 then return 0 end
  return math.ceil((scope.fraction + units) / ${PERSON})
end
local function costOf(window, after)
  if window.measure == 3 then return bytesOf[counted + 1] or 0 end
  if window.measure > 1 then return each[window.measure] end
  local cost = window.scope.kind == 0 and unknown + peopleFor(window.scope) or 0
  for i = following, after - 1 do
    if kindOf[i] == window.scope.kind and window.scope.lastRead[i] <= now - window.span then cost = cost + 1 end
  end
  return cost
end
while counted < rows and not stopped do
  local after = following
  while rowOf[after] == counted do after = after + 1 end
  for _, window in ipairs(windows) do
    window.cost = costOf(window, after)
    window.full = window.cost > 0 and window.used + window.cost > window.limit
    stopped = stopped or window.full
  end
  if not stopped then
    for _, scope in ipairs(scopes) do
      local units = scope.fraction + (scope.kind == 0 and unitsOf[counted + 1] or 0)
      scope.room = peopleFor(scope) - math.floor(units / ${PERSON})
      scope.whole = scope.whole + math.floor(units / ${PERSON})
      scope.fraction = units % ${PERSON}
    end
    for _, window in ipairs(windows) do
      window.used = window.used + window.cost - (window.measure == 1 and window.scope.room or 0)
    end
    bytes = bytes + (bytesOf[counted + 1] or 0)
    counted, following = counted + 1, after
  end
end

-- 3. Count them.
local function addPeople(scope)
  local added = {}
  for i = 1, following - 1 do
    if kindOf[i] == scope.kind then
      added[#added + 1] = now
      added[#added + 1] = person[i]
    end
  end
  for i = 1, scope.kind == 0 and unknown * counted + scope.whole or 0 do
    added[#added + 1] = now
    added[#added + 1] = prefix .. i
  end
  inPortions(added, 2000, function(...) redis.call('ZADD', scope.key[1], 'GT', ...) end)
end
local function addAmount(scope, key, amount)
  local sweep = false
  for level = 0, ${SLICE_LEVELS - 1} do
    local slice = ${FINEST_SLICE} * ${SLICE_FACTOR} ^ level
    local field = slice .. ':' .. math.floor(now / slice)
    local first = redis.call('HINCRBY', key, field, amount) == amount
    -- Dead buckets go when a slice of 16 seconds begins: often enough to stay small, seldom enough to be cheap.
    if level == 4 and first then sweep = true end
  end
  if sweep then
    local dead = {}
    for _, field in ipairs(redis.call('HKEYS', key)) do
      local slice, index = string.match(field, '^(%d+):(%d+)$')
      if (index + 1) * slice <= now - math.min(scope.keep, ${SLICES_READ} * slice) then dead[#dead + 1] = field end
    end
    inPortions(dead, 1000, function(...) redis.call('HDEL', key, ...) end)
  end
  redis.call('PEXPIREAT', key, expiry(scope.keep))
end
local amounts = { 0, each[2] * counted, bytes, each[4] * counted, each[5] * counted }
for _, scope in ipairs(scopes) do
  if scope.counts[1] then
    if counted > 0 then addPeople(scope) end
    if withUnits then redis.call('SET', scope.key[${FRACTION}], scope.fraction, 'PXAT', expiry(scope.keep)) end
    redis.call('PEXPIREAT', scope.key[1], expiry(scope.keep))
  end
  for measure = 2, 5 do
    if scope.counts[measure] and amounts[measure] > 0 then addAmount(scope, scope.key[measure], amounts[measure]) end
  end
end
if receipt then redis.call('SET', receipt, 1, 'PXAT', expiry(${RECEIPT_KEPT})) end
local reply = { counted, 0, 0, 0, now, skipped, began }
for _, window in ipairs(windows) do reply[#reply + 1] = window.used end
if not stopped then return reply end

-- 4. Which window stopped the next row: of several, the one that makes it wait longest.
local function peopleFit(window)
  local rank = math.min(window.used + window.cost - window.limit, window.used) - 1
  local entry = redis.call('ZRANGEBYSCORE', window.scope.key[1], '(' .. now - window.span, '+inf',
    'WITHSCORES', 'LIMIT', math.max(rank, 0), 1)
  return entry[2] and tonumber(entry[2]) + window.span or now
end
local function amountFits(window)
  local living, first = livingSlices(window)
  local left = window.used
  for i, amount in ipairs(living) do
    left = left - (tonumber(amount or '0') or 0)
    if left + window.cost <= window.limit or left == 0 then return (first + i) * window.slice + window.span end
  end
  return now
end
local which, frees = 0, -1
for i, window in ipairs(windows) do
  if window.full then
    local fits = window.slice > 0 and amountFits(window) or peopleFit(window)
    if fits > frees then which, frees = i, fits end
  end
end
reply[2], reply[3], reply[4] = which, windows[which].used, frees - now
return reply
`;
}

/** The script that the proxies run. */
export const CHARGE = chargeScript(SHARED_CLOCK);
