-- Notes that a key is out, unless it is out for longer already, and tells other machines.
-- KEYS: the record
-- ARGV: what it holds, for how many ms, the channel, the message
-- 1 if it was noted, else 0.
if redis.call('PTTL', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
-- It is noted even if this node may not publish.
redis.pcall('PUBLISH', ARGV[3], ARGV[4])
return 1
