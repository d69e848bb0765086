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

-- The number of the ticket that is next in a list, but for those that were let before others.
local function next_ticket(list)
  for at = -1, -64, -1 do
    local found = redis.call('LINDEX', list, at)
    if not found then return nil end
    if not string.find(found, '"aged"', 1, true) then
      return string.match(found, '"ticket": ?"(%d+)"') or 0
    end
  end
  return 0
end

-- how many at most of each list: issue anew the tickets that are nowhere. They come before what is
-- next in their list, at two looks in a row: in between, a ticket is on its way to a claim.
function commands.reissue()
  local missing, count = {}, 0
  for _, queue in ipairs(QUEUES) do
    for level = 0, is_paused(queue) and -1 or LEVELS do
      local key = P .. 'ready:' .. queue .. ':' .. level
      if redis.call('EXISTS', key) == 1 then
        local number = next_ticket(list_of(queue, level))
        local before = number and '(' .. number or '+inf'
        local ids = redis.call('ZRANGEBYSCORE', key, '-inf', before, 'WITHSCORES', 'LIMIT', 0, ARGV[2])
        for at = 1, #ids, 2 do
          local id, ticket = ids[at], ids[at + 1]
          local h = load(id)
          if not h then
            redis.call('ZREM', key, id)
          elseif not redis.call('ZSCORE', P .. 'parked:' .. h.task, id) then
            if h.ticket == ticket and redis.call('HGET', P .. 'missing', id) == ticket then
              issue(id, h)
              count = count + 1
            else
              missing[id] = ticket
            end
          end
        end
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
                issue(id, h, true)
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
  redis.call('ZREM', P .. 'workers', ARGV[2])
  redis.call('HDEL', P .. 'worker', ARGV[2])
  return count
end

-- node, what is known of it as JSON, forgotten after (ms)
function commands.here()
  redis.call('ZADD', P .. 'workers', NOW, ARGV[2])
  redis.call('HSET', P .. 'worker', ARGV[2], ARGV[3])
  for _, node in ipairs(redis.call('ZRANGEBYSCORE', P .. 'workers', '-inf', NOW - ARGV[4])) do
    redis.call('ZREM', P .. 'workers', node)
    redis.call('HDEL', P .. 'worker', node)
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
