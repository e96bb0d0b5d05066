-- Remove what is ready or delayed in one queue.
--
-- KEYS[1..4]  its ready lists  KEYS[5] its delayed set
-- Result      how many
-- Atomic so that the count is what was removed.

local count = redis.call('ZCARD', KEYS[5])
for i = 1, 4 do count = count + redis.call('LLEN', KEYS[i]) end
redis.call('DEL', unpack(KEYS))
return count
