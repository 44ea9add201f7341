-- Gives up the slots that are under a nonce, and wakes the head waiter.
-- KEYS: queue, deadlines, then the lock of each slot
-- ARGV: nonce, prefix of the wake-up channels, then the field of each slot
-- {how many were under the nonce, the waiter whose turn it is or an empty string}.
-- The meta stays: it is the slot's fence, and says nothing of other holders.
local freed, count = false, 0
for i = 3, #KEYS do
  if redis.call('GET', KEYS[i]) == ARGV[1] then
    redis.call('DEL', KEYS[i])
    freed, count = ARGV[i], count + 1
  end
end
local waiter = freed and head_waiter(KEYS[1], KEYS[2])
if waiter then
  local instance, ticket = string.match(waiter, '^(.*):([^:]*)$')
  -- The slot is free even if this node may not publish.
  if instance then redis.pcall('PUBLISH', ARGV[2] .. instance, ticket .. ' ' .. freed) end
end
return {count, waiter or ''}
