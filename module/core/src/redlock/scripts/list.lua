-- Which slots are held, under what and for how long.
-- KEYS: the lock of each slot
-- {index, nonce or meta, ms left or -1} for each slot held.
local held = {}
for i = 1, #KEYS do
  local holder = redis.call('GET', KEYS[i])
  if holder then held[#held + 1] = {i - 1, holder, redis.call('PTTL', KEYS[i])} end
end
return held
