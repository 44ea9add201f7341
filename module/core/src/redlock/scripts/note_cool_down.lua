-- Stores a key's cool-down unless a longer one is stored, and notifies other machines in
-- any case: the longer one may have been cancelled.
-- KEYS: the record
-- ARGV: its value, the remaining ms, the channel, the message
-- Returns 1 if it was stored, else 0.
local is_longer = redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2])
if is_longer then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) end
-- It is stored even if this node may not publish.
redis.pcall('PUBLISH', ARGV[3], ARGV[4])
return is_longer and 1 or 0
