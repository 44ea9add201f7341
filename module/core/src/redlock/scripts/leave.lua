-- Gives up a place in the queue.
-- KEYS: queue, deadlines
-- ARGV: waiter
-- 1 if it had one.
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('ZREM', KEYS[1], ARGV[1])
