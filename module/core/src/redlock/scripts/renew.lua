-- Extends leases, and restores those that this node has lost. A longer TTL is not
-- shortened.
-- KEYS: fences, ends, then the lock of each lease
-- ARGV: ttl ms, then field, nonce and fence of each lease
-- For each lease: 1 extended, 2 restored, 0 held with another nonce, -1 restored, but
-- a higher fence was proposed since, so it is no vote before the next renewal; -2 this
-- node could not write; -3 released before, and not restored.
local results = {}
for i = 3, #KEYS do
  local at = 3 * i - 7
  local key, field, nonce, fence = KEYS[i], ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local holder = redis.call('GET', key)
  local own = holder and string.sub(holder, 1, 32) == nonce
  local result = 0
  if own or not holder then
    local ended = redis.call('ZSCORE', KEYS[2], field)
    if ended and tonumber(ended) >= tonumber(fence) then
      -- It was locked after the release.
      if own then redis.pcall('DEL', key) end
      result = -3
    elseif own then
      result = 1
      if redis.call('PTTL', key) < tonumber(ARGV[1]) then
        local set = redis.pcall('PEXPIRE', key, ARGV[1])
        if type(set) == 'table' then result = -2 end
      end
    else
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
  end
  results[#results + 1] = result
end
return results
