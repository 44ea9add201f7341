-- Releases the slots held with a nonce, and notifies the head of the queue.
-- KEYS: queue, deadlines, ends, then the lock of each slot
-- ARGV: nonce, prefix of the wake-up channels, a fence or 0, then the field of each
--       slot. No lock with that fence or a lower one is restored from now on.
-- {number of released slots, the notified waiter or an empty string}.
local freed, count = false, 0
local ends = tonumber(ARGV[3])
for i = 4, #KEYS do
  local holder = redis.call('GET', KEYS[i])
  if holder and string.sub(holder, 1, 32) == ARGV[1] then
    redis.call('DEL', KEYS[i])
    freed, count = ARGV[i], count + 1
  end
  if ends > 0 and tonumber(redis.call('ZSCORE', KEYS[3], ARGV[i]) or 0) < ends then
    -- The slot is free even if this node has no memory for this.
    redis.pcall('ZADD', KEYS[3], ARGV[3], ARGV[i])
  end
end
if not freed or not redis.call('ZRANGE', KEYS[1], 0, 0)[1] then return {count, ''} end
