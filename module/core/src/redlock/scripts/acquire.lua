-- Takes the first candidate slot that is free and whose fence is lower.
-- KEYS: guard, meta, fences, then the lock of each candidate
-- ARGV: nonce, ttl ms, fence, meta, quarantine ms, bootstrap (1 or 0), then the
--       field of each candidate
-- {1, index}: granted. {0, why, wait ms or -1, highest fence, free index...}:
-- refused, because all are busy (0), the fence is too low (1), or the node came
-- back empty and is in quarantine (2).
local function quarantine_left()
  local born = tonumber(redis.call('GET', KEYS[1]))
  if ARGV[6] == '1' then
    if born ~= 0 then redis.call('SET', KEYS[1], '0') end
    return 0
  end
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  local quarantine = tonumber(ARGV[5])
  -- A guard from the future: the clock went back, how far nobody knows.
  if not born or born > now then
    redis.call('SET', KEYS[1], string.format('%.0f', now))
    return quarantine
  end
  return math.max(0, born + quarantine - now)
end

local left = quarantine_left()
if left > 0 then return {0, 2, left, '0'} end
if #KEYS == 3 then return {0, 0, -1, '0'} end

local fence = tonumber(ARGV[3])
local stored = redis.call('HMGET', KEYS[3], unpack(ARGV, 7))
local highest = '0'
local free = {}
for i = 1, #KEYS - 3 do
  local key, field = KEYS[i + 3], ARGV[i + 6]
  local holder = redis.call('GET', key)
  if holder == ARGV[1] then return {1, i - 1} end -- the same request, sent again
  if not holder then
    local last = tonumber(stored[i]) or 0
    if last < fence then
      redis.call('SET', key, ARGV[1], 'NX', 'PX', ARGV[2])
      redis.call('HSET', KEYS[3], field, ARGV[3])
      redis.call('HSET', KEYS[2], field, ARGV[4])
      return {1, i - 1}
    end
    free[#free + 1] = i - 1
    if last > tonumber(highest) then highest = stored[i] end
  end
end

local wait = -1
for i = 4, #KEYS do
  local ttl = redis.call('PTTL', KEYS[i])
  if ttl >= 0 and (wait < 0 or ttl < wait) then wait = ttl end
end
return {0, #free > 0 and 1 or 0, wait, highest, unpack(free)}
