-- Notifies the head of the queue of the released slot.
local waiter = head_waiter(KEYS[1], KEYS[2])
if waiter then
  local instance, ticket = string.match(waiter, '^(.*):([^:]*)$')
  -- The slot is free even if this node may not publish.
  if instance then redis.pcall('PUBLISH', ARGV[2] .. instance, ticket .. ' ' .. freed) end
end
return {count, waiter or ''}
