-- Returns the rows that have been raised since a change, the oldest change first.
-- KEYS: about (the data set's id, the number of changes), rows, their order
-- ARGV: the known id, the change up to which rows are known, the maximum number of rows,
--       what follows the day in the names of rows to be omitted
-- {id or an empty string, the last change included, 1 if there may be more, then
-- name and sums of each row}.
local id = redis.call('HGET', KEYS[1], 'id')
if not id then return {'', '0', 0} end
local upto = id == ARGV[1] and ARGV[2] or '0'
local found = redis.call('ZRANGEBYSCORE', KEYS[3], '(' .. upto, '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[3])
local names = {}
for i = 1, #found, 2 do
  upto = found[i + 1]
  local behind = string.find(found[i], ':', 1, true) or 0
  local is_own = ARGV[4] ~= '' and string.sub(found[i], behind + 1, behind + #ARGV[4]) == ARGV[4]
  if not is_own then names[#names + 1] = found[i] end
end
local answer = {id, upto, #found == 2 * tonumber(ARGV[3]) and 1 or 0}
if #names == 0 then return answer end
local sums = redis.call('HMGET', KEYS[2], unpack(names))
for i, name in ipairs(names) do
  answer[#answer + 1] = name
  answer[#answer + 1] = sums[i] or ''
end
return answer
