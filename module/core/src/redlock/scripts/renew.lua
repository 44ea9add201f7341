-- Prolongs leases, and puts back those that this node has forgotten.
-- KEYS: meta, then the lock of each lease
-- ARGV: ttl ms, then field, nonce and fence of each lease
-- For each lease: 1 prolonged, 2 put back, 0 under another nonce,
-- -1 put back, but a higher fence was granted since (in vain, if a quorum says 1 or
-- 2), -2 this node would not write.
local results = {}
for i = 2, #KEYS do
  local at = 3 * i - 4
  local key, field, nonce, fence = KEYS[i], ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local holder = redis.call('GET', key)
  local result = 0
  if holder == nonce then
    local set = redis.pcall('PEXPIRE', key, ARGV[1])
    result = type(set) == 'table' and -2 or 1
  elseif not holder then
    local meta = redis.call('HGET', KEYS[1], field)
    local last = meta and string.match(meta, '\n(%d+)') or '0'
    local set = redis.pcall('SET', key, nonce, 'NX', 'PX', ARGV[1])
    if not set or set.err then
      result = -2
    elseif tonumber(last) > tonumber(fence) then
      result = -1
    else
      redis.call('HSET', KEYS[1], field, nonce .. '\n' .. fence .. '\n\n\n')
      result = 2
    end
  end
  results[#results + 1] = result
end
return results
