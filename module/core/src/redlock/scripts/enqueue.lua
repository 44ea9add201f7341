-- Adds a waiter to the queue, or moves the deadline of one that is in it.
-- KEYS: queue, deadlines
-- ARGV: waiter, rank of its priority (0 first), longest wait in ms
-- Returns the number of other waiters.
head_waiter(KEYS[1], KEYS[2])
local now = node_time()
-- Priority above, time in the lower 42 bits: exact in a double.
local score = tonumber(ARGV[2]) * 4398046511104 + now
redis.call('ZADD', KEYS[1], 'NX', string.format('%.0f', score), ARGV[1])
redis.call('ZADD', KEYS[2], string.format('%.0f', now + tonumber(ARGV[3])), ARGV[1])
return redis.call('ZCARD', KEYS[1]) - 1
