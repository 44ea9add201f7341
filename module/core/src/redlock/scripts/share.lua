-- Raises the stats of a machine, and removes those of old days.
-- KEYS: about (the data set's id, the number of changes), rows, their order
-- ARGV: an id for a node that has none, how many days to keep, then name and sums of
--       each row
-- {id, number of raised rows}.
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

local names, rows, order, raised = {}, {}, {}, {}
for i = 3, #ARGV, 2 do names[#names + 1] = ARGV[i] end
local before = #names > 0 and redis.call('HMGET', KEYS[2], unpack(names))
local change = tonumber(redis.call('HGET', KEYS[1], 'changes') or 0)
for i, name in ipairs(names) do
  local old, new = raised[name] or before[i] or '', ARGV[2 * i + 2]
  new = old ~= new and is_kept(name) and (old == '' and new or highest(old, new))
  if new then
    change = change + 1
    raised[name] = new
    rows[#rows + 1], rows[#rows + 2] = name, new
    order[#order + 1], order[#order + 2] = string.format('%.0f', change), name
  end
end
if #rows > 0 then
  redis.call('HSET', KEYS[2], unpack(rows))
  redis.call('ZADD', KEYS[3], unpack(order))
  redis.call('HSET', KEYS[1], 'changes', string.format('%.0f', change))
end
-- The rows that have not been raised for the longest time are those of the oldest days.
for _, name in ipairs(redis.call('ZRANGE', KEYS[3], 0, #rows / 2 + 7)) do
  if not is_kept(name) then
    redis.call('HDEL', KEYS[2], name)
    redis.call('ZREM', KEYS[3], name)
  end
end
for _, key in ipairs(KEYS) do redis.call('EXPIRE', key, (keep + 1) * 86400) end
return {id, #rows / 2}
