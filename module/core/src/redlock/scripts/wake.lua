-- Tells the waiter whose turn it is of the slot that has been given up.
local waiter = head_waiter(KEYS[1], KEYS[2])
if waiter then
  local instance, ticket = string.match(waiter, '^(.*):([^:]*)$')
  -- The slot is free even if this node may not publish.
  if instance then redis.pcall('PUBLISH', ARGV[2] .. instance, ticket .. ' ' .. freed) end
end
return {count, waiter or ''}
