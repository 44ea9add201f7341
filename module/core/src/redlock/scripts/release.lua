-- Gives up the slots that are under a nonce, and wakes the head waiter.
-- KEYS: meta, queue, deadlines, then the lock of each slot
-- ARGV: nonce, prefix of the wake-up channels, then the field of each slot
-- {how many were under the nonce, the waiter whose turn it is or an empty string}.
local nonce, freed, count = ARGV[1], false, 0
for i = 4, #KEYS do
  local key, field = KEYS[i], ARGV[i - 1]
  if redis.call('GET', key) == nonce then
    redis.call('DEL', key)
    freed, count = field, count + 1
  end
  local meta = redis.call('HGET', KEYS[1], field)
  if meta and string.sub(meta, 1, #nonce + 1) == nonce .. '\n' then
    redis.call('HDEL', KEYS[1], field)
  end
end
local waiter = freed and head_waiter(KEYS[2], KEYS[3])
if waiter then
  local instance, ticket = string.match(waiter, '^(.*):([^:]*)$')
  -- The slot is free even if this node may not publish.
  if instance then redis.pcall('PUBLISH', ARGV[2] .. instance, ticket .. ' ' .. freed) end
end
return {count, waiter or ''}
