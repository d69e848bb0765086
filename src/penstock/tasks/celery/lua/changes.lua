-- What users change. Answers a word and the record, or a word and what was in the way.

local function after(id) return {'ok', record(id)} end

function commands.cancel()
  local id = ARGV[2]
  local h = load(id)
  if not h then return {'absent', ''} end
  if h.state == 'queued' then
    leave_queue(id, h)
    finish(id, h, 'cancelled', KEEP)
  elseif h.state == 'running' then
    -- What was enqueued before the cancel goes with it; what comes after is run.
    redis.call('HSET', job(id), 'cancelling', '1', 'rerun', h.rerun and h.cancelling and '1' or '')
    redis.call('PUBLISH', P .. 'cancel', id)
    tell(id, 'running')
  else
    return {'state', h.state}
  end
  return after(id)
end

function commands.retry()
  local id = ARGV[2]
  local h = load(id)
  if not h then return {'absent', ''} end
  if h.state ~= 'failed' and h.state ~= 'cancelled' and h.state ~= 'expired' then
    return {'state', h.state}
  end
  if h.key and redis.call('HSETNX', P .. 'keys', h.task .. '\0' .. h.key, id) == 0 then
    return {'key', ''}
  end
  redis.call('HDEL', job(id), 'finished', 'deadline', 'cancelling', 'rerun', 'progress', 'result')
  redis.call('ZREM', P .. 'ended', id)
  redis.call('ZREM', P .. 'expiring', id)
  requeue(id, h, 0, NOW)
  return after(id)
end

-- id, priority
function commands.reprioritise()
  local id = ARGV[2]
  local h = load(id)
  if not h then return {'absent', ''} end
  if h.state ~= 'queued' then return {'state', h.state} end
  if tonumber(h.priority) == tonumber(ARGV[3]) then return after(id) end  -- no ticket for nothing
  local is_ready = redis.call('ZREM', ready_key(h), id) == 1
  redis.call('HSET', job(id), 'priority', ARGV[3])
  h.priority = ARGV[3]
  if is_ready then issue(id, h) end
  tell(id, 'queued')
  return after(id)
end

function commands.pause()
  return redis.call('SADD', P .. 'paused', ARGV[2])
end

-- queue, level, after which ticket, how many: gives them new tickets; answers how many it gave
function commands.resume()
  redis.call('SREM', P .. 'paused', ARGV[2])
  local key = P .. 'ready:' .. ARGV[2] .. ':' .. ARGV[3]
  local ids = redis.call('ZRANGEBYSCORE', key, '-inf', ARGV[4], 'LIMIT', 0, ARGV[5])
  for _, id in ipairs(ids) do
    local h = load(id)
    if h and h.state == 'queued' then issue(id, h) else redis.call('ZREM', key, id) end
  end
  return #ids
end

function commands.newest_ticket()
  return tonumber(redis.call('GET', P .. 'tickets') or 0)
end

local function forget(id)
  local h = load(id)
  redis.call('ZREM', P .. 'ended', id)
  redis.call('ZREM', P .. 'expiring', id)
  if h then
    move(id, h, h.state, nil)
    release_key(id, h)
    redis.call('DEL', job(id))
    tell(id, 'gone')
  end
end

-- expiring | ended, until when ('': now), how many at most; answers how many it forgot
function commands.forget()
  local most = ARGV[3] == '' and NOW or '(' .. ARGV[3]
  local ids = redis.call('ZRANGEBYSCORE', P .. ARGV[2], '-inf', most, 'LIMIT', 0, ARGV[4])
  for _, id in ipairs(ids) do forget(id) end
  return #ids
end

return commands[ARGV[1]]()
