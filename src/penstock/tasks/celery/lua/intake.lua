-- New jobs.

local SIZE = 16  -- arguments of one

local function add(origin, at)
  local id, task, queue, key = ARGV[at], ARGV[at + 1], ARGV[at + 3], ARGV[at + 9]
  local keyed, again = ARGV[at + 8] == '1', ARGV[at + 10] == '1'
  local made_by = redis.call('HGET', job(id), 'origin')
  if made_by then  -- by us, when the answer was lost; or two processes drew the same number
    return id, made_by == origin and 0 or 2
  end
  if keyed then
    local twin = redis.call('HGET', P .. 'keys', task .. '\0' .. key)
    if twin and redis.call('HEXISTS', job(twin), 'state') == 1 then  -- else its record was lost
      if again and redis.call('HGET', job(twin), 'state') == 'running' then
        redis.call('HSET', job(twin), 'rerun', '1')
      end
      return twin, 1
    end
    redis.call('HSET', P .. 'keys', task .. '\0' .. key, id)
  end
  local run_at = NOW
  if ARGV[at + 6] ~= '' then
    run_at = math.max(NOW, tonumber(ARGV[at + 6]))
  elseif ARGV[at + 7] ~= '' then
    run_at = NOW + math.max(0, tonumber(ARGV[at + 7]))
  end
  local h = {task = task, queue = queue, priority = ARGV[at + 4], attempt = 0}
  local given = {
    'origin', origin, 'task', task, 'arguments', ARGV[at + 2], 'queue', queue,
    'priority', h.priority, 'max', ARGV[at + 5], 'state', 'queued', 'attempt', 0,
    'run_at', run_at, 'created', NOW,
  }
  local function give(name, value)
    given[#given + 1] = name
    given[#given + 1] = value
  end
  if keyed then give('key', key) end
  if ARGV[at + 12] ~= '' then h.owner = ARGV[at + 12]; give('owner', h.owner) end
  if ARGV[at + 13] ~= '' then h.batch = ARGV[at + 13]; give('batch', h.batch) end
  if ARGV[at + 14] ~= '' then give('request', ARGV[at + 14]) end
  if ARGV[at + 15] ~= '' then give('trace', ARGV[at + 15]) end
  if ARGV[at + 11] ~= '' then
    local deadline = NOW + tonumber(ARGV[at + 11])
    give('deadline', deadline)
    redis.call('ZADD', P .. 'deadlines', deadline, id)
  end
  redis.call('HSET', job(id), unpack(given))
  move(id, h, nil, 'queued')
  if run_at > NOW then wait_until(id, h, run_at) else issue(id, h) end
  return id, 0
end

-- origin, then SIZE of each job; answers id, 0 new | 1 was there | 2 the id is taken, of each
function commands.add()
  local added = {}
  for at = 3, #ARGV, SIZE do
    local id, how = add(ARGV[2], at)
    added[#added + 1] = id
    added[#added + 1] = how
  end
  return added
end

-- Schedules: a hash each, and all of them by when they tick next. `fired` are the ticks that have
-- had their job, so that a clock which was set back fires nothing twice.

local KEEP_FIRED = 7 * KEEP

local function schedule(name) return P .. 'schedule:' .. name end

local function status(name)
  return redis.call('HMGET', schedule(name), 'task', 'spec', 'tz', 'queue', 'paused', 'next', 'last',
    'last_job', 'misfire', 'template')
end

local function plan(name, at)
  redis.call('HSET', schedule(name), 'next', at)
  redis.call('ZADD', P .. 'plan', at, name)
end

-- of each: name, task, spec, tz, misfire, queue, template, next tick
function commands.declare()
  for at = 2, #ARGV, 8 do
    local name = ARGV[at]
    local known = redis.call('HMGET', schedule(name), 'spec', 'tz', 'next')
    local planned = tonumber(ARGV[at + 7])
    if known[1] == ARGV[at + 2] and known[2] == ARGV[at + 3] and known[3] then
      planned = math.min(planned, tonumber(known[3]))
    end
    redis.call('HSET', schedule(name), 'task', ARGV[at + 1], 'spec', ARGV[at + 2], 'tz',
      ARGV[at + 3], 'misfire', ARGV[at + 4], 'queue', ARGV[at + 5], 'template', ARGV[at + 6])
    redis.call('ZADD', P .. 'declared', NOW, name)
    plan(name, planned)
  end
  return 0
end

-- until when, those that were declared in the last so many milliseconds; answers name and status
function commands.ticking()
  local found = {}
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', P .. 'plan', '-inf', ARGV[2], 'LIMIT', 0, 500)) do
    local declared = tonumber(redis.call('ZSCORE', P .. 'declared', name) or 0)
    if NOW - declared <= tonumber(ARGV[3]) and redis.call('HGET', schedule(name), 'paused') ~= '1' then
      found[#found + 1] = {name, status(name)}
    end
  end
  return found
end

function commands.schedules()
  local found = {}
  for _, name in ipairs(redis.call('ZRANGE', P .. 'plan', 0, -1)) do
    found[#found + 1] = {name, status(name)}
  end
  return found
end

-- origin, name, planned, following, how many ticks, the ticks, a job for each; answers ids, or
-- nothing where one of them is taken
function commands.fire()
  local origin, name, count = ARGV[2], ARGV[3], tonumber(ARGV[6])
  if redis.call('HGET', schedule(name), 'next') ~= ARGV[4] then return {} end  -- another beat did
  local fired = P .. 'fired:' .. name
  local ids = {}
  for n = 1, count do
    local tick = ARGV[6 + n]
    if not redis.call('ZSCORE', fired, tick) then
      local id, how = add(origin, 7 + count + (n - 1) * SIZE)
      if how == 2 then return false end  -- what is left is fired with other ids
      redis.call('ZADD', fired, tick, tick)
      ids[#ids + 1] = id
      redis.call('HSET', schedule(name), 'last', tick, 'last_job', id)
    end
  end
  redis.call('ZREMRANGEBYSCORE', fired, '-inf', tonumber(ARGV[4]) - KEEP_FIRED)
  plan(name, ARGV[5])
  return ids
end

-- origin, name, now, a job; answers its id and whether it was there
function commands.fire_now()
  if redis.call('EXISTS', schedule(ARGV[3])) == 0 then return false end
  local id, how = add(ARGV[2], 5)
  if how ~= 2 then redis.call('HSET', schedule(ARGV[3]), 'last', ARGV[4], 'last_job', id) end
  return {id, how}
end

-- name, paused, next tick from now; answers its status
function commands.pause_schedule()
  local name = ARGV[2]
  local known = redis.call('HMGET', schedule(name), 'spec', 'paused')
  if not known[1] then return false end
  if known[2] == '1' and ARGV[3] == '0' then plan(name, ARGV[4]) end
  redis.call('HSET', schedule(name), 'paused', ARGV[3])
  return status(name)
end

-- name and next tick of each: the clock was ahead and so is the plan
function commands.plan_anew()
  for at = 2, #ARGV, 2 do
    local known = tonumber(redis.call('HGET', schedule(ARGV[at]), 'next') or 0)
    if known > tonumber(ARGV[at + 1]) then plan(ARGV[at], ARGV[at + 1]) end
  end
  return 0
end

return commands[ARGV[1]]()
