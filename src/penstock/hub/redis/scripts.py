"""What runs inside Redis, each script at once and as a whole.

`meta` says which life of the data this is (`epoch`), how far the clock, the log and the floor are,
and which server process it was last seen on (`run`). Nobody reads or changes it but these scripts.
"""

from __future__ import annotations

from typing import Final

# How far ahead of every wall clock a new life begins, so that clocks of two machines that disagree
# cannot make it begin before what was handed out in the last one.
MARGIN: Final = 60_000  # milliseconds

_WALL = """
local told = redis.call('TIME')
local wall = told[1] * 1000 + math.floor(told[2] / 1000)
"""

_LOG = """
local meta, generations, log, sent = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local function number(name) return tonumber(redis.call('HGET', meta, name) or '0') end
local clock, floor, index = number('clock'), number('floor'), number('index')
local function tick(least)
  clock = math.max(clock + 1, wall, least)
  return clock
end
local longest
local function write(kind, ...)
  index = index + 1
  redis.call('XADD', log, 'MAXLEN', '~', longest, string.format('%.0f-0', index),
             'k', kind, 'c', string.format('%.0f', clock), ...)
end
local function save(...)
  redis.call('HSET', meta, 'clock', string.format('%.0f', clock),
             'floor', string.format('%.0f', floor), 'index', string.format('%.0f', index), ...)
end
"""

# Whoever connects learns where everything is. Data that was lost, in whole or in part, begins a new
# life: its floor is above all that was ever handed out, so that nothing from before is trusted. It
# went back if somebody knows of a later clock or of a later entry of the log (`known_index`): what
# was set and deleted since is undone with it. A server process that is another than before (`run`)
# has lost nothing only if somebody who heard all of it says so; each one who comes back later may
# object.
JOIN: Final = (
    _WALL
    + _LOG
    + """
local known, known_run, known_clock = ARGV[1], ARGV[2], tonumber(ARGV[3])
local run, fresh, raise = ARGV[4], ARGV[5], ARGV[7] == '1'
local margin, longest_given, keep = tonumber(ARGV[8]), ARGV[9], ARGV[10]
local known_index = tonumber(ARGV[11])
longest = longest_given
wall = math.max(wall, tonumber(ARGV[6]))
local epoch = redis.call('HGET', meta, 'epoch')
local before = redis.call('HGET', meta, 'run')
local previous = redis.call('HGET', meta, 'previous') or ''
local restored, restored_index = number('restored'), number('restored_index')
local same = epoch and known == epoch
local lost = not epoch
  or (number('names') > 0 and redis.call('EXISTS', generations) == 0)
  or (same and (known_clock > clock or known_index > index))
if not lost and before ~= run then
  lost = not (same and known_run == before)
  restored, restored_index, previous = clock, index, before
elseif not lost and same and known_run ~= run then
  lost = known_run ~= previous or known_clock > restored or known_index > restored_index
end
if lost then
  if not epoch then index = 0 end
  redis.call('DEL', generations, log)
  epoch = fresh
  tick(known_clock + 1)
  clock = clock + margin
  floor, restored, previous = clock, clock, ''
  write('e')
elseif raise or (known ~= '' and not same and known_clock >= floor) then
  floor = tick(known_clock + 1)
  write('f')
end
save('epoch', epoch, 'run', run, 'previous', previous,
     'restored', string.format('%.0f', restored),
     'restored_index', string.format('%.0f', restored_index),
     'names', redis.call('ZCARD', generations))
local first = redis.call('XRANGE', log, '-', '+', 'COUNT', 1)
local oldest = index + 1
if first[1] then oldest = tonumber(string.match(first[1][1], '^%d+')) end
local last = tonumber(redis.call('GET', sent) or '0')
redis.call('SET', sent, last, 'EX', keep)
return {epoch, clock, floor, index, oldest, last}
"""
)

# Items are numbered by their sender and counted once, however often they arrive. Without items it
# shows that Redis takes writes and still lives the same life. Answers where the log ends; 0 when
# that life is over, or its generations are gone: before a bump makes them look complete again.
SEND: Final = (
    _WALL
    + _LOG
    + """
if redis.call('HGET', meta, 'epoch') ~= ARGV[1] then return 0 end
if number('names') > 0 and redis.call('EXISTS', generations) == 0 then return 0 end
local origin, most, keep = ARGV[2], tonumber(ARGV[4]), ARGV[5]
longest = ARGV[3]
local last = tonumber(redis.call('GET', sent) or '0')
local began = index
for at = 6, #ARGV, 4 do
  local item, kind, name, body = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  if item > last then
    last = item
    if kind == 'b' then redis.call('ZADD', generations, tick(0), name) end
    if kind == 'f' then floor = tick(0) end
    write(kind, 'o', origin, 'n', ARGV[at], 't', name, 'b', body)
  end
end
local names = redis.call('ZCARD', generations)
if names > most then
  local half = math.floor(names / 2)
  local newest = redis.call('ZRANGE', generations, half - 1, half - 1, 'WITHSCORES')
  redis.call('ZREMRANGEBYRANK', generations, 0, half - 1)
  floor = math.max(floor, tonumber(newest[2]))
  tick(0)
  write('t', 'n', string.format('%.0f', floor))
end
redis.call('SET', sent, last, 'EX', keep)
if index > began then save('names', redis.call('ZCARD', generations)) end
return index
"""
)

# One holder at a time; what ends a lease says so on a channel of its name.
RELEASE: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[1])
redis.call('PUBLISH', KEYS[2], '')
return 1
"""
EXTEND: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""

# Several holders: a sorted set of tokens by the millisecond at which they end.
SLOT: Final = (
    _WALL
    + """
local token, limit, lasts = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', wall)
if redis.call('ZCARD', KEYS[1]) >= limit then return 0 end
redis.call('ZADD', KEYS[1], wall + lasts, token)
redis.call('PEXPIRE', KEYS[1], math.max(lasts, redis.call('PTTL', KEYS[1])))
return 1
"""
)
EXTEND_SLOT: Final = (
    _WALL
    + """
local ends = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or '0')
if ends <= wall then return 0 end
redis.call('ZADD', KEYS[1], wall + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], math.max(tonumber(ARGV[2]), redis.call('PTTL', KEYS[1])))
return 1
"""
)
RELEASE_SLOT: Final = """
local held = redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('PUBLISH', KEYS[2], '')
return held
"""

# The generic cell rate algorithm (ITU-T I.371) for many names at once: one number each, the
# microsecond at which the whole limit is free again. `known` is what the caller knows of it, for a
# Redis that lost it; `back` are tokens it got and did not use; `owed` what it granted on credit.
RATES: Final = """
local told = redis.call('TIME')
local now = told[1] * 1000000 + told[2]
local answers = {}
for place = 1, #KEYS do
  local at = (place - 1) * 6
  local limit, window = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local known, back = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local owed, wanted = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
  local interval = window / limit
  local full = tonumber(redis.call('GET', KEYS[place]) or '0')
  if full < now or full > now + 2 * window then full = now end
  full = math.max(full, now + known)
  full = math.max(now, full - back * interval)
  full = math.min(full + owed * interval, now + 2 * window)
  local free = math.floor((now + window - full) / interval + 0.000001)
  local granted = math.max(0, math.min(wanted, free))
  full = full + granted * interval
  local lasts = math.ceil((full - now) / 1000)
  if lasts > 0 then
    redis.call('SET', KEYS[place], string.format('%.3f', full), 'PX', lasts)
  end
  answers[place] = {granted, math.ceil(full - now)}
end
return answers
"""

# Calls are numbered by their source and counted once, however often they arrive. How many before
# this one are gone, as Redis lost its data or the last of it: its number then follows a lower one.
ADD: Final = """
local kept, mark_kept = ARGV[3], ARGV[4]
local gone = 0
if ARGV[1] ~= '' then
  local number, last = tonumber(ARGV[1]), tonumber(redis.call('GET', KEYS[1]) or '0')
  if last >= number then return 0 end
  gone = number - 1 - last
  redis.call('SET', KEYS[1], ARGV[1], 'EX', mark_kept)
end
for at, fields in ipairs(cjson.decode(ARGV[2])) do
  for n = 1, #fields, 2 do
    redis.call('HINCRBY', KEYS[at + 1], fields[n], string.format('%.0f', fields[n + 1]))
  end
  redis.call('EXPIRE', KEYS[at + 1], kept)
end
return gone
"""
