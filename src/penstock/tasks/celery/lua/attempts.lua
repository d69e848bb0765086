-- What a process that runs jobs says about them. A claim holds as long as the job is running with
-- the ticket that was claimed: what anybody else says about it is no longer true.

local function mine(id, ticket)
  local h = load(id)
  if h and h.state == 'running' and h.ticket == ticket then return h end
end

local function keep_progress(id, text)
  if text ~= '' then redis.call('HSET', job(id), 'progress', text) end
end

local function state_of(id) return redis.call('HGET', job(id), 'state') end

-- Milliseconds until one of `limit` starts in `window` is free; 0 takes it.
local function until_free(task, limit, window)
  local key, each = P .. 'rate:' .. task, window / limit
  local at = math.max(NOW, tonumber(redis.call('GET', key) or 0))
  local wait = at - NOW - (window - each)
  if wait > 0.5 then return math.ceil(wait) end
  redis.call('SET', key, string.format('%.3f', at + each), 'PX', math.ceil(window) + 1000)
  return 0
end

-- What a claim answers: attempt, queue, arguments, owner, request, trace, how long it was ready.
local function ran(id, h, attempt)
  local found = redis.call('HMGET', job(id), 'arguments', 'owner', 'request', 'trace', 'run_at')
  return {'run', attempt, h.queue, found[1], found[2] or '', found[3] or '', found[4] or '',
    NOW - tonumber(found[5]), ARGV[7]}
end

-- id, ticket, worker, lease (ms), once, rate limit, rate window (ms), whether the task is known, a
-- word of this claim's own: made again, because its answer was lost, it holds as it did
function commands.claim()
  local id, ticket, worker, lease = ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])
  local ours = ARGV[10] or ''
  local h = load(id)
  if not h then return {'gone', ''} end
  if ours ~= '' and mine(id, ticket) and redis.call('HGET', job(id), 'claim') == ours then
    return ran(id, h, h.attempt)
  end
  if h.state ~= 'queued' or h.ticket ~= ticket then return {'gone', h.state} end
  if is_paused(h.queue) then return {'paused', ''} end
  if ARGV[9] ~= '1' then
    redis.call('SADD', P .. 'parked', h.task)
    redis.call('ZADD', P .. 'parked:' .. h.task, NOW, id)
    redis.call('ZADD', ready_key(h), '+inf', id)  -- behind those whose tickets may be missed
    redis.call('HSET', job(id), 'parked', ticket)  -- holds until it has another
    tell(id, 'queued')
    return {'unknown', h.task}
  end
  if h.deadline > 0 and h.deadline <= NOW then
    expire(id, h)
    return {'gone', 'expired'}
  end
  if ARGV[7] ~= '' then
    local wait = until_free(h.task, tonumber(ARGV[7]), tonumber(ARGV[8]))
    if wait > 0 then
      wait_until(id, h, NOW + wait)
      return {'later', ''}
    end
  end
  leave_queue(id, h)
  redis.call('HSET', job(id), 'state', 'running', 'attempt', h.attempt + 1, 'started', NOW,
    'worker', worker, 'once', ARGV[6], 'claim', ours)
  redis.call('ZADD', P .. 'leases', NOW + lease, id)
  redis.call('HINCRBY', P .. 'claims', h.queue, 1)
  move(id, h, 'queued', 'running')
  tell(id, 'running')
  return ran(id, h, h.attempt + 1)
end

-- id, ticket, result, keep (ms), progress
function commands.complete()
  local id = ARGV[2]
  local h = mine(id, ARGV[3])
  if not h then return false end
  if h.rerun then
    run_again(id, h)
  else
    redis.call('HSET', job(id), 'result', ARGV[4])
    keep_progress(id, ARGV[6])
    finish(id, h, 'completed', tonumber(ARGV[5]))
  end
  return state_of(id)
end

-- id, ticket, type, message, traceback, delay (ms) or '', keep, keep if failed, progress
function commands.fail()
  local id = ARGV[2]
  local h = mine(id, ARGV[3])
  if not h then return false end
  keep_progress(id, ARGV[10])
  fail(id, h, ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]))
  return state_of(id)
end

-- id, ticket, has begun, keep, keep if failed, progress
function commands.stop()
  local id = ARGV[2]
  local h = mine(id, ARGV[3])
  if not h then return false end
  keep_progress(id, ARGV[7])
  stop(id, h, ARGV[4] == '1', tonumber(ARGV[5]), tonumber(ARGV[6]))
  return state_of(id)
end

-- id, ticket, type, what happened: its process did not see to its end
function commands.lost()
  local id = ARGV[2]
  local h = mine(id, ARGV[3])
  if not h then return false end
  lose(id, h, ARGV[4], ARGV[5])
  return state_of(id)
end

-- lease (ms), then id and ticket of each; answers held | cancelling | lost, of each
function commands.renew()
  local told = {}
  for at = 3, #ARGV, 2 do
    local h = mine(ARGV[at], ARGV[at + 1])
    if h then
      redis.call('ZADD', P .. 'leases', NOW + tonumber(ARGV[2]), ARGV[at])
      told[#told + 1] = h.cancelling and 'cancelling' or 'held'
    else
      told[#told + 1] = 'lost'
    end
  end
  return told
end

-- id, ticket and progress of each
function commands.progress()
  for at = 2, #ARGV, 3 do
    local found = redis.call('HMGET', job(ARGV[at]), 'state', 'ticket')
    if found[1] == 'running' and found[2] == ARGV[at + 1] then
      redis.call('HSET', job(ARGV[at]), 'progress', ARGV[at + 2])
      tell(ARGV[at], ARGV[at + 2])
    end
  end
  return 0
end

return commands[ARGV[1]]()
