-- Gives up the slots that are under a nonce, and wakes the head waiter.
-- KEYS: queue, deadlines, then the lock of each slot
-- ARGV: nonce, prefix of the wake-up channels, then the field of each slot
-- {how many were under the nonce, the waiter whose turn it is or an empty string}.
local freed, count = false, 0
for i = 3, #KEYS do
  local holder = redis.call('GET', KEYS[i])
  if holder and string.sub(holder, 1, 32) == ARGV[1] then
    redis.call('DEL', KEYS[i])
    freed, count = ARGV[i], count + 1
  end
end
if not freed or not redis.call('ZRANGE', KEYS[1], 0, 0)[1] then return {count, ''} end
