-- Send one message that is due now, once: what `delay()` calls, kept apart from publish.lua because it is half as costly without
-- the prelude.
--
-- KEYS[1]  the producer's number of its last publish  KEYS[2] ready list  KEYS[3] bell of the queue
-- ARGV[1]  number of this publish  ARGV[2] payload
-- Result   1 if it was sent now, 0 if it had been sent before the connection broke
-- Atomic because the number and the message must be written together.

local last = redis.call('SET', KEYS[1], ARGV[1], 'EX', 120, 'GET')
if last and tonumber(last) >= tonumber(ARGV[1]) then return 0 end
redis.call('LPUSH', KEYS[2], ARGV[2])
-- As prelude's ring(): at most 8 tokens.
if redis.call('LLEN', KEYS[3]) < 8 and redis.call('LPUSH', KEYS[3], '1') == 1 then
  redis.call('EXPIRE', KEYS[3], 60)
end
return 1
