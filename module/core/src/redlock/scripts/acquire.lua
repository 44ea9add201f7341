-- Locks the first candidate slot that is free and whose fence is lower.
-- KEYS: guard, fences, then the lock of each candidate
-- ARGV: nonce, ttl ms, fence, meta, quarantine ms, bootstrap (1 or 0), then the
--       field of each candidate
-- {1, index, ms until the guard expires}: granted. {0, why, wait ms or -1, highest
-- fence, free index...}: refused, because all are busy (0), the fence is too low (1),
-- or the node came back empty and is in quarantine (2).
local born = redis.call('GET', KEYS[1])
local open = born == '0'
if not open then
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local left = tonumber(ARGV[5])
  born = tonumber(born)
  -- A guard in the future: the clock went back by an unknown time.
  if ARGV[6] ~= '1' and (not born or born > now) then
    redis.call('SET', KEYS[1], string.format('%.0f', now))
  else
    left = ARGV[6] == '1' and 0 or born + left - now
    open = left <= 0
    if open then redis.call('SET', KEYS[1], '0') end
  end
  if left > 0 then return {0, 2, left, '0'} end
end
-- An open guard expires at the same time on all nodes, so that PTTL shows the node's
-- clock.
if open and redis.call('PTTL', KEYS[1]) < 0 then
  redis.call('PEXPIREAT', KEYS[1], '9999999999999')
end
if #KEYS == 2 then return {0, 0, -1, '0'} end

local fence, meta = tonumber(ARGV[3]), ARGV[4]
local highest, wait = 0, -1
local free = {}
for i = 3, #KEYS do
  local key, field = KEYS[i], ARGV[i + 4]
  local last = tonumber(redis.call('ZSCORE', KEYS[2], field) or 0)
  if last < fence and redis.call('SET', key, meta, 'NX', 'PX', ARGV[2]) then
    redis.call('ZADD', KEYS[2], ARGV[3], field)
    return {1, i - 3, redis.call('PTTL', KEYS[1])}
  end
  local holder = redis.call('GET', key)
  if holder and string.sub(holder, 1, 32) == ARGV[1] then -- sent again
    return {1, i - 3, redis.call('PTTL', KEYS[1])}
  end
  if not holder then
    free[#free + 1] = i - 3
    highest = math.max(highest, last)
  else
    local ttl = redis.call('PTTL', key)
    if ttl >= 0 and (wait < 0 or ttl < wait) then wait = ttl end
  end
end
return {0, #free > 0 and 1 or 0, wait, string.format('%.0f', highest), unpack(free)}
