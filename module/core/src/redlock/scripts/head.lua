-- Returns the head of the queue, or nil.
-- KEYS: queue, deadlines
return head_waiter(KEYS[1], KEYS[2])
