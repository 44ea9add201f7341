-- Gives up the slots that are under a nonce, and wakes the head waiter.
-- KEYS: queue, deadlines, ends, then the lock of each slot
-- ARGV: nonce, prefix of the wake-up channels, a fence or 0, then the field of each
--       slot. No lock with that fence or a lower one is put back from now on.
-- {how many were under the nonce, the waiter whose turn it is or an empty string}.
local freed, count = false, 0
local ends = tonumber(ARGV[3])
for i = 4, #KEYS do
  local holder = redis.call('GET', KEYS[i])
  if holder and string.sub(holder, 1, 32) == ARGV[1] then
    redis.call('DEL', KEYS[i])
    freed, count = ARGV[i], count + 1
  end
  if ends > 0 and tonumber(redis.call('ZSCORE', KEYS[3], ARGV[i]) or 0) < ends then
    -- The slot is free even if this node has no room for it.
    redis.pcall('ZADD', KEYS[3], ARGV[3], ARGV[i])
  end
end
if not freed or not redis.call('ZRANGE', KEYS[1], 0, 0)[1] then return {count, ''} end
