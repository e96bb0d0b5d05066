-- Let a paused queue be served again, and wake those who serve it.
--
-- ARGV[2]  queue  ARGV[3..] its ready lists
-- Result   1
-- Atomic because a turn in between would find the queue paused and sleep although it was rung.

redis.call('SREM', PAUSED, ARGV[2])
promote(ARGV[2])
local ready = 0
for i = 3, #ARGV do ready = ready + redis.call('LLEN', ARGV[i]) end
if ready > 0 then ring(ARGV[2], ready) end
return 1
