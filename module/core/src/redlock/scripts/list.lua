-- Which slots are held, under which nonce and for how long.
-- KEYS: meta, then the lock of each slot
-- ARGV: the field of each slot
-- {index, nonce, ms left or -1, meta} for each slot held.
local held = {}
for i = 2, #KEYS do
  local nonce = redis.call('GET', KEYS[i])
  if nonce then
    local meta = redis.call('HGET', KEYS[1], ARGV[i - 1])
    held[#held + 1] = {i - 2, nonce, redis.call('PTTL', KEYS[i]), meta or ''}
  end
end
return held
