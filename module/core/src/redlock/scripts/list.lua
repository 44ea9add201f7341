-- Returns the held slots.
-- KEYS: the lock of each slot
-- {index, value of the lock, ms left or -1} for each of them.
local held = {}
for i = 1, #KEYS do
  local holder = redis.call('GET', KEYS[i])
  if holder then held[#held + 1] = {i - 1, holder, redis.call('PTTL', KEYS[i])} end
end
return held
