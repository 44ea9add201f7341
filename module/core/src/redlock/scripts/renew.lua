-- Prolongs leases, and puts back those that this node has forgotten.
-- KEYS: fences, then the lock of each lease
-- ARGV: ttl ms, then field, nonce and fence of each lease; then 1 if what lasts
--       longer than that is to be left alone
-- For each lease: 1 prolonged, 2 put back, 0 under another nonce,
-- -1 put back, but a higher fence was proposed since: no vote, before the next
-- renewal; -2 this node would not write.
local results, spared = {}, ARGV[3 * #KEYS - 1] == '1'
for i = 2, #KEYS do
  local at = 3 * i - 4
  local key, field, nonce, fence = KEYS[i], ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local holder = redis.call('GET', key)
  local result = 0
  if holder and string.sub(holder, 1, 32) == nonce then
    result = 1
    if not (spared and redis.call('PTTL', key) >= tonumber(ARGV[1])) then
      local set = redis.pcall('PEXPIRE', key, ARGV[1])
      if type(set) == 'table' then result = -2 end
    end
  elseif not holder then
    local last = tonumber(redis.call('ZSCORE', KEYS[1], field) or 0)
    local meta = nonce .. '\n' .. fence .. '\n\n\n'
    local set = redis.pcall('SET', key, meta, 'NX', 'PX', ARGV[1])
    if not set or set.err then
      result = -2
    elseif last > tonumber(fence) then
      result = -1
    else
      redis.call('ZADD', KEYS[1], fence, field)
      result = 2
    end
  end
  results[#results + 1] = result
end
return results
