-- Removes a waiter from the queue.
-- KEYS: queue, deadlines
-- ARGV: waiter
-- Returns 1 if it was in the queue.
redis.call('ZREM', KEYS[2], ARGV[1])
return redis.call('ZREM', KEYS[1], ARGV[1])
