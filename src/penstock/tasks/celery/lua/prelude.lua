-- What all scripts share. KEYS[1] is the prefix of our keys, ARGV[1] the command, then its own.
--
-- A job is a hash; its state is an index as well, one for each thing it can be looked up by.
-- A message in a broker list is a ticket: it says that a job may be started, and is good for that
-- as long as its number is the one that the job has. All else about the job is in the hash.

local P = KEYS[1]
local clock = redis.call('TIME')
local NOW = clock[1] * 1000 + math.floor(clock[2] / 1000)
local KEEP = 86400000         -- milliseconds that a job stays which ends without having run
local KEEP_FAILED = 30 * KEEP
local MAX_ERRORS = 5
local LEVELS = 9
local QUEUES = {'default', 'conversations', 'analytics', 'notifications', 'maintenance'}

local FIELDS = {
  'task', 'queue', 'priority', 'state', 'attempt', 'max', 'run_at', 'created', 'started',
  'finished', 'worker', 'cancelling', 'key', 'owner', 'batch', 'request', 'trace', 'progress',
  'errors', 'ticket', 'parked',
}

local function job(id) return P .. 'job:' .. id end

local function record(id) return redis.call('HMGET', job(id), unpack(FIELDS)) end

local function load(id)
  local found = redis.call('HMGET', job(id), 'state', 'ticket', 'task', 'queue', 'priority',
    'owner', 'batch', 'attempt', 'max', 'key', 'deadline', 'cancelling', 'rerun', 'once', 'errors')
  if not found[1] then return nil end
  return {
    state = found[1], ticket = found[2], task = found[3], queue = found[4], priority = found[5],
    owner = found[6], batch = found[7], attempt = tonumber(found[8]), max = tonumber(found[9]),
    key = found[10], deadline = tonumber(found[11] or 0), cancelling = found[12] == '1',
    rerun = found[13] == '1', once = found[14] == '1', errors = found[15] or '',
  }
end

-- Those who wait for the job hear of it.
local function tell(id, what) redis.call('PUBLISH', P .. 'on:' .. id, what) end

local function indexes(h)
  local found = {'', 'queue:' .. h.queue, 'task:' .. h.task}
  if h.owner then found[#found + 1] = 'owner:' .. h.owner end
  if h.batch then found[#found + 1] = 'batch:' .. h.batch end
  return found
end

local function index(state, by) return P .. 'jobs:' .. state .. ':' .. by end

-- Ids sort as their jobs were made, so the score of all is the same.
local function move(id, h, from, to)
  for _, by in ipairs(indexes(h)) do
    if from then redis.call('ZREM', index(from, by), id) end
    if to then redis.call('ZADD', index(to, by), 0, id) end
  end
end

local function ready_key(h) return P .. 'ready:' .. h.queue .. ':' .. h.priority end

local function list_of(queue, level)
  return tonumber(level) > 0 and queue .. ':' .. level or queue
end

local function is_paused(queue) return redis.call('SISMEMBER', P .. 'paused', queue) == 1 end

-- As kombu writes what Celery sends: test_message.py compares them. The body is [[], {}, {...}]; what
-- Flower shows as arguments says which job it is, never what was given to it.
local function message(id, h, number, level, before)
  return table.concat({
    '{"body":"W1tdLCB7fSwgeyJjYWxsYmFja3MiOiBudWxsLCAiZXJyYmFja3MiOiBudWxsLCAiY2hhaW4iOiBudWxsLCAi',
    'Y2hvcmQiOiBudWxsfV0=","content-encoding":"utf-8","content-type":"application/json",',
    '"headers":{"lang":"py","task":', cjson.encode(h.task), ',"id":"', id, '","shadow":null,',
    '"eta":null,"expires":null,"group":null,"group_index":null,"retries":',
    math.max(0, h.attempt), ',"timelimit":[null,null],"root_id":"', id, '","parent_id":null,',
    '"argsrepr":"()","kwargsrepr":"{\'job\': \'', id, '\', \'attempt\': ', math.max(0, h.attempt) + 1,
    '}","origin":"penstock","ignore_result":false,',
    '"replaced_task_nesting":0,"stamped_headers":null,"stamps":{},"ticket":"', number,
    before and '","before":"1' or '', '"},"properties":{"correlation_id":"', id, '","reply_to":"","delivery_mode":2,',
    '"delivery_info":{"exchange":"","routing_key":"', h.queue, '"},"priority":', level,
    ',"body_encoding":"base64","delivery_tag":"', id, '.', number, '"}}',
  })
end

-- Let a queued job be started: behind the others of its `level`, or before them. A paused queue gets
-- its tickets when it goes on.
local function issue(id, h, before, level)
  local number = redis.call('INCR', P .. 'tickets')
  redis.call('HSET', job(id), 'ticket', number)
  redis.call('ZADD', ready_key(h), number, id)
  if not is_paused(h.queue) then
    level = level or h.priority
    local push = before and 'RPUSH' or 'LPUSH'
    redis.call(push, list_of(h.queue, level), message(id, h, number, level, before))
  end
end

-- Let it be started at an instant.
local function wait_until(id, h, at)
  redis.call('HSET', job(id), 'ticket', '')
  redis.call('ZREM', ready_key(h), id)
  redis.call('ZADD', P .. 'delayed', at, id)
  redis.call('ZADD', P .. 'delayed:' .. h.queue, at, id)
end

local function wait_no_more(id, h)
  redis.call('ZREM', P .. 'delayed', id)
  redis.call('ZREM', P .. 'delayed:' .. h.queue, id)
end

local function leave_queue(id, h)
  redis.call('ZREM', ready_key(h), id)
  redis.call('ZREM', P .. 'deadlines', id)
  redis.call('ZREM', P .. 'parked:' .. h.task, id)
  wait_no_more(id, h)
end

local function release_key(id, h)
  if h.key then
    local name = h.task .. '\0' .. h.key
    if redis.call('HGET', P .. 'keys', name) == id then redis.call('HDEL', P .. 'keys', name) end
  end
end

local function finish(id, h, state, keep)
  redis.call('HSET', job(id), 'state', state, 'finished', NOW, 'rerun', '', 'ticket', '')
  redis.call('HDEL', job(id), 'worker', 'cancelling')
  redis.call('ZREM', P .. 'leases', id)
  redis.call('ZADD', P .. 'ended', NOW, id)
  redis.call('ZADD', P .. 'expiring', NOW + keep, id)
  release_key(id, h)
  move(id, h, h.state, state)
  h.state = state
  tell(id, state)
end

local function expire(id, h)
  leave_queue(id, h)
  finish(id, h, 'expired', KEEP)
end

-- Queued once more: at once, or after a delay.
local function requeue(id, h, attempt, at)
  redis.call('HSET', job(id), 'state', 'queued', 'attempt', attempt, 'run_at', at)
  redis.call('HDEL', job(id), 'started', 'worker')
  redis.call('ZREM', P .. 'leases', id)
  move(id, h, h.state, 'queued')
  h.state, h.attempt = 'queued', attempt
  if at > NOW then wait_until(id, h, at) else issue(id, h) end
  tell(id, 'queued')
end

-- It was enqueued again while it ran: as if it were new.
local function run_again(id, h)
  redis.call('HDEL', job(id), 'cancelling', 'rerun', 'deadline', 'progress')
  requeue(id, h, 0, NOW)
end

local function note_error(id, h, kind, said, traceback)
  local lines = {}
  for line in string.gmatch(h.errors, '[^\n]+') do lines[#lines + 1] = line end
  lines[#lines + 1] = table.concat({
    '{"type":', cjson.encode(kind), ',"message":', cjson.encode(said), ',"at":',
    string.format('%d', NOW), ',"attempt":', h.attempt, ',"traceback":', cjson.encode(traceback), '}',
  })
  while #lines > MAX_ERRORS do table.remove(lines, 1) end
  h.errors = table.concat(lines, '\n')
  redis.call('HSET', job(id), 'errors', h.errors)
end

local function end_cancelled(id, h, keep)
  if h.rerun then return run_again(id, h) end
  finish(id, h, 'cancelled', keep)
end

-- `delay`: milliseconds until the next attempt; nil if there is none. Also of one that was lost.
local function fail(id, h, kind, said, traceback, delay, keep, keep_failed)
  note_error(id, h, kind, said, traceback)
  if h.cancelling then return end_cancelled(id, h, keep) end
  if delay and h.attempt < h.max then
    redis.call('HDEL', job(id), 'deadline')  -- what has begun was started in time
    return requeue(id, h, h.attempt, NOW + delay)
  end
  if h.rerun then return run_again(id, h) end
  finish(id, h, 'failed', keep_failed)
end

local function lose(id, h, kind, how)
  local said = h.once and how .. '; it may be run only once' or how
  local again = not h.once and h.attempt < h.max
  fail(id, h, kind, said, '', again and 0 or nil, KEEP, KEEP_FAILED)
end

-- It ended because it was asked to: cancelled, or given back without the attempt.
local function stop(id, h, has_begun, keep, keep_failed)
  if h.cancelling then return end_cancelled(id, h, keep) end
  if h.once and has_begun then
    local said = 'its process stopped while it ran; it may be run only once'
    return fail(id, h, 'Stopped', said, '', nil, keep, keep_failed)
  end
  if has_begun or h.rerun then
    redis.call('HDEL', job(id), 'deadline')
  elseif h.deadline > 0 then
    redis.call('ZADD', P .. 'deadlines', h.deadline, id)
  end
  requeue(id, h, h.attempt - 1, NOW)
end

local commands = {}
