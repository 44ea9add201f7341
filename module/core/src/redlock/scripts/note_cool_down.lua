-- Stores a key's cool-down unless a longer one is stored, and notifies other machines.
-- KEYS: the record
-- ARGV: its value, the remaining ms, the channel, the message
-- Returns 1 if it was stored, else 0.
if redis.call('PTTL', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
-- It is stored even if this node may not publish.
redis.pcall('PUBLISH', ARGV[3], ARGV[4])
return 1
