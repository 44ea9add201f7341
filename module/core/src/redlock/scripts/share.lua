-- Raises the totals of a machine, and forgets those of days long past.
-- KEYS: about (the memory's id, the number of changes), rows, their order
-- ARGV: an id for a node that has none, how many days to keep, then name and sums of
--       each row
-- {id, how many rows were raised}.
local id = redis.call('HGET', KEYS[1], 'id')
if not id then
  id = ARGV[1]
  redis.call('HSET', KEYS[1], 'id', id)
  redis.call('DEL', KEYS[2], KEYS[3])
end
local keep = tonumber(ARGV[2])
local today = math.floor(tonumber(redis.call('TIME')[1]) / 86400)
local function is_kept(name)
  local day = tonumber(string.match(name, '^(%d+):'))
  return day and day >= today - keep and day <= today + 1
end

-- Sums are compared as texts: a number of Lua is exact to 2^53 only.
local function higher(one, other)
  return #one > #other or (#one == #other and one > other)
end
local function highest(old, new)
  local sums, at, raised = {}, 0, false
  for sum in string.gmatch(old, '(%d*),') do sums[#sums + 1] = sum end
  for sum in string.gmatch(new, '(%d*),') do
    at = at + 1
    local known = sums[at] or ''
    if higher(sum, known) then raised = true else sum = known end
    sums[at] = sum
  end
  return raised and table.concat(sums, ',') .. ','
end

local count = 0
for i = 3, #ARGV, 2 do
  local name = ARGV[i]
  local old = redis.call('HGET', KEYS[2], name) or ''
  local new = old ~= ARGV[i + 1] and is_kept(name) and highest(old, ARGV[i + 1])
  if new then
    redis.call('HSET', KEYS[2], name, new)
    redis.call('ZADD', KEYS[3], redis.call('HINCRBY', KEYS[1], 'changes', 1), name)
    count = count + 1
  end
end
-- The rows that have not been raised for the longest time are those of the oldest days.
for _, name in ipairs(redis.call('ZRANGE', KEYS[3], 0, count + 7)) do
  if not is_kept(name) then
    redis.call('HDEL', KEYS[2], name)
    redis.call('ZREM', KEYS[3], name)
  end
end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, (keep + 1) * 86400) end
return {id, count}
