-- Takes the first candidate slot that is free and whose fence is lower.
-- KEYS: guard, meta, then the lock of each candidate
-- ARGV: nonce, ttl ms, fence, meta, quarantine ms, bootstrap (1 or 0), then the
--       field of each candidate
-- {1, index}: granted. {0, why, wait ms or -1, highest fence, free index...}:
-- refused, because all are busy (0), the fence is too low (1), or the node came
-- back empty and is in quarantine (2).
local function quarantine_left()
  local born = redis.call('GET', KEYS[1])
  if born == '0' then return 0 end
  if ARGV[6] == '1' then
    redis.call('SET', KEYS[1], '0')
    return 0
  end
  born = tonumber(born)
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local quarantine = tonumber(ARGV[5])
  -- A guard from the future: the clock went back, how far nobody knows.
  if not born or born > now then
    redis.call('SET', KEYS[1], string.format('%.0f', now))
    return quarantine
  end
  local left = born + quarantine - now
  if left <= 0 then redis.call('SET', KEYS[1], '0') end
  return math.max(0, left)
end

local left = quarantine_left()
if left > 0 then return {0, 2, left, '0'} end
if #KEYS == 2 then return {0, 0, -1, '0'} end

local nonce, fence = ARGV[1], tonumber(ARGV[3])
local metas = redis.call('HMGET', KEYS[2], unpack(ARGV, 7))
local highest = '0'
local free = {}
for i = 1, #KEYS - 2 do
  local key = KEYS[i + 2]
  -- The second line is the fence of the last grant.
  local last = metas[i] and string.match(metas[i], '\n(%d+)') or '0'
  if tonumber(last) < fence and redis.call('SET', key, nonce, 'NX', 'PX', ARGV[2]) then
    redis.call('HSET', KEYS[2], ARGV[i + 6], ARGV[4])
    return {1, i - 1}
  end
  local holder = redis.call('GET', key)
  if holder == nonce then return {1, i - 1} end -- the same request, sent again
  if not holder then
    free[#free + 1] = i - 1
    if tonumber(last) > tonumber(highest) then highest = last end
  end
end

local wait = -1
for i = 3, #KEYS do
  local ttl = redis.call('PTTL', KEYS[i])
  if ttl >= 0 and (wait < 0 or ttl < wait) then wait = ttl end
end
return {0, #free > 0 and 1 or 0, wait, highest, unpack(free)}
