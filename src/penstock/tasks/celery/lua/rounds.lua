-- What workers look after: what comes due, who died, which tickets were lost.

-- how many at most; answers how many moved and expired, and when something is due next
function commands.due()
  local late = redis.call('ZRANGEBYSCORE', P .. 'deadlines', '-inf', NOW, 'LIMIT', 0, ARGV[2])
  for _, id in ipairs(late) do
    local h = load(id)
    if h and h.state == 'queued' then expire(id, h) else redis.call('ZREM', P .. 'deadlines', id) end
  end
  local due = redis.call('ZRANGEBYSCORE', P .. 'delayed', '-inf', NOW, 'LIMIT', 0, ARGV[2])
  for _, id in ipairs(due) do
    local h = load(id)
    if h then
      wait_no_more(id, h)
      if h.state == 'queued' then issue(id, h) end
    else
      redis.call('ZREM', P .. 'delayed', id)
    end
  end
  local soonest = -1
  for _, name in ipairs({'delayed', 'deadlines'}) do
    local first = redis.call('ZRANGE', P .. name, 0, 0, 'WITHSCORES')
    if first[2] and (soonest < 0 or tonumber(first[2]) < soonest) then soonest = tonumber(first[2]) end
  end
  return {#due, #late, soonest < 0 and -1 or math.max(0, soonest - NOW)}
end

-- how many at most: jobs whose process does not renew its lease
function commands.bury()
  local ids = redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', NOW, 'LIMIT', 0, ARGV[2])
  for _, id in ipairs(ids) do
    local h = load(id)
    if h and h.state == 'running' then
      lose(id, h, 'Lost', 'its process died while it ran')
    else
      redis.call('ZREM', P .. 'leases', id)
    end
  end
  return ids
end

-- The number of the ticket that is next in a list, but for those that were let before others; nil
-- where there is none, 0 where that cannot be told.
local function next_ticket(list)
  for at = -1, -64, -1 do
    local found = redis.call('LINDEX', list, at)
    if not found then return at < -1 and 0 or nil end
    if not string.find(found, '"before"', 1, true) then
      return string.match(found, '"ticket": ?"(%d+)"') or 0
    end
  end
  return 0
end

-- What the workers that live have taken and not ended, as id.ticket.
local function taken(silent)
  local found = {}
  for _, node in ipairs(redis.call('ZRANGEBYSCORE', P .. 'workers', NOW - silent, '+inf')) do
    for tag in string.gmatch(redis.call('HGET', P .. 'taken', node) or '', '%S+') do found[tag] = true end
  end
  return found
end

-- Ready jobs of a list whose tickets are nowhere: they come before the next one, nobody has taken
-- them, and the last look missed them too; in between, one may have been on its way to a worker.
local function lost(key, before, most, held, missing)
  local found = {}
  local ids = redis.call('ZRANGEBYSCORE', key, '-inf', before, 'WITHSCORES', 'LIMIT', 0, most)
  for at = 1, #ids, 2 do
    local id, ticket = ids[at], ids[at + 1]
    if redis.call('HGET', P .. 'missing', id) == ticket then
      found[#found + 1] = id
    elseif not held[id .. '.' .. ticket] then
      missing[id] = ticket
    end
  end
  return found
end

-- how many at most of each list, after how many ms a worker that says nothing is held for dead:
-- issue lost tickets anew, each before those that came later
function commands.reissue()
  local held, missing, count = taken(tonumber(ARGV[3])), {}, 0
  local newest = (redis.call('GET', P .. 'tickets') or 0) + 1
  for _, queue in ipairs(QUEUES) do
    for level = 0, is_paused(queue) and -1 or LEVELS do
      local key = P .. 'ready:' .. queue .. ':' .. level
      if redis.call('EXISTS', key) == 1 then
        local before = '(' .. (next_ticket(list_of(queue, level)) or newest)
        local ids = lost(key, before, ARGV[2], held, missing)
        for at = #ids, 1, -1 do
          local h = load(ids[at])
          if h then issue(ids[at], h, true) else redis.call('ZREM', key, ids[at]) end
        end
        count = count + #ids
        if #ids > 0 then lost(key, before, ARGV[2], held, missing) end
      end
    end
  end
  redis.call('DEL', P .. 'missing')
  for id, ticket in pairs(missing) do redis.call('HSET', P .. 'missing', id, ticket) end
  return count
end

-- how many at most, then tasks that the asking worker knows: let those be started that nobody knew
function commands.unpark()
  local count = 0
  for at = 3, #ARGV do
    local key = P .. 'parked:' .. ARGV[at]
    local ids = redis.call('ZRANGE', key, 0, ARGV[2] - 1)
    for _, id in ipairs(ids) do
      redis.call('ZREM', key, id)
      local h = load(id)
      if h and h.state == 'queued' then issue(id, h) end
      count = count + 1
    end
    if redis.call('EXISTS', key) == 0 then redis.call('SREM', P .. 'parked', ARGV[at]) end
  end
  return count
end

-- age (ms), share: of so many starts of a queue one goes to who waits longest, for so long at least
function commands.elders()
  local count = 0
  for _, queue in ipairs(QUEUES) do
    local starts = tonumber(redis.call('HGET', P .. 'claims', queue) or 0)
    if starts > 0 and not is_paused(queue) then
      redis.call('HSET', P .. 'claims', queue, 0)
      local first_level = nil
      for level = 0, LEVELS do
        local key = P .. 'ready:' .. queue .. ':' .. level
        if redis.call('EXISTS', key) == 1 then
          if first_level then
            local most = math.max(1, math.floor(starts / tonumber(ARGV[3])))
            for _, id in ipairs(redis.call('ZRANGE', key, 0, most - 1)) do
              local h = load(id)
              local since = tonumber(redis.call('HGET', job(id), 'run_at') or NOW)
              if h and h.state == 'queued' and NOW - since > tonumber(ARGV[2]) then
                issue(id, h, true, 0)
                count = count + 1
              end
            end
          else
            first_level = level
          end
        end
      end
    end
  end
  return count
end

local function forget(node)
  redis.call('ZREM', P .. 'workers', node)
  redis.call('HDEL', P .. 'worker', node)
  redis.call('HDEL', P .. 'taken', node)
end

-- node: give back what a worker that has ended was running, without the attempts
function commands.give_back()
  local count = 0
  for _, id in ipairs(redis.call('ZRANGE', P .. 'leases', 0, -1)) do
    local worker = redis.call('HGET', job(id), 'worker')
    if worker == ARGV[2] then
      local h = load(id)
      if h.state == 'running' then
        stop(id, h, true, KEEP, KEEP_FAILED)
        count = count + 1
      end
    end
  end
  forget(ARGV[2])
  return count
end

-- node, what is known of it as JSON, what it has taken, forgotten after (ms)
function commands.here()
  redis.call('ZADD', P .. 'workers', NOW, ARGV[2])
  redis.call('HSET', P .. 'worker', ARGV[2], ARGV[3])
  redis.call('HSET', P .. 'taken', ARGV[2], ARGV[4])
  for _, node in ipairs(redis.call('ZRANGEBYSCORE', P .. 'workers', '-inf', NOW - ARGV[5])) do
    forget(node)
  end
  return 0
end

-- Answers of each worker: node, JSON, milliseconds since it was seen; then of each job that runs:
-- id, worker
function commands.workers()
  local found = {}
  local nodes = redis.call('ZRANGE', P .. 'workers', 0, -1, 'WITHSCORES')
  for at = 1, #nodes, 2 do
    local told = redis.call('HGET', P .. 'worker', nodes[at])
    if told then
      found[#found + 1] = {nodes[at], told, NOW - tonumber(nodes[at + 1])}
    end
  end
  local running = {}
  for _, id in ipairs(redis.call('ZRANGE', P .. 'leases', 0, -1)) do
    running[#running + 1] = {id, redis.call('HGET', job(id), 'worker') or ''}
  end
  return {found, running}
end

-- Jobs that wait for a worker which has their task: by queue, task and number. Of each task a
-- thousand are looked at; the others are counted where the last of these is.
local function parked()
  local found = {}
  for _, task in ipairs(redis.call('SMEMBERS', P .. 'parked')) do
    local key, counts, last = P .. 'parked:' .. task, {}, nil
    local ids = redis.call('ZRANGE', key, 0, 999)
    for _, id in ipairs(ids) do
      local queue = redis.call('HGET', job(id), 'queue')
      if queue then counts[queue], last = (counts[queue] or 0) + 1, queue end
    end
    if last then counts[last] = counts[last] + redis.call('ZCARD', key) - #ids end
    for queue, count in pairs(counts) do
      found[queue] = found[queue] or {}
      table.insert(found[queue], task)
      table.insert(found[queue], count)
    end
  end
  return found
end

-- Answers of each queue: name, paused, delayed, running, since when the oldest is ready or '',
-- then level and number of each level with ready jobs, then task and number of those that no
-- worker has
function commands.queues()
  local found, lacking = {}, parked()
  for _, queue in ipairs(QUEUES) do
    local oldest, counts = -1, {}
    for level = 0, LEVELS do
      local key = P .. 'ready:' .. queue .. ':' .. level
      local count = redis.call('ZCARD', key)
      if count > 0 then
        counts[#counts + 1] = level
        counts[#counts + 1] = count
        local first = redis.call('ZRANGE', key, 0, 0)[1]
        local since = tonumber(redis.call('HGET', job(first), 'run_at') or NOW)
        if oldest < 0 or since < oldest then oldest = since end
      end
    end
    found[#found + 1] = {
      queue, is_paused(queue) and 1 or 0, redis.call('ZCARD', P .. 'delayed:' .. queue),
      redis.call('ZCARD', index('running', 'queue:' .. queue)),
      oldest < 0 and -1 or math.max(0, NOW - oldest), counts,
      lacking[queue] or {},
    }
  end
  return found
end

return commands[ARGV[1]]()
