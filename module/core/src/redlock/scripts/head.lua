-- The waiter whose turn it is, or nil.
-- KEYS: queue, deadlines
return head_waiter(KEYS[1], KEYS[2])
