-- The head of the queue, or false; removes waiters whose deadline has passed.
local function node_time()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function head_waiter(queue, deadlines)
  local first = redis.call('ZRANGE', queue, 0, 0)[1]
  if not first then return false end
  local now = node_time()
  while first do
    local deadline = tonumber(redis.call('ZSCORE', deadlines, first))
    if deadline and deadline > now then return first end
    redis.call('ZREM', queue, first)
    redis.call('ZREM', deadlines, first)
    first = redis.call('ZRANGE', queue, 0, 0)[1]
  end
  return false
end

