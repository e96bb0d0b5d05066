-- Put one message that a stock worker holds, or held when it was killed, back to the head of its queue.
--
-- KEYS[1]  the hash of all that stock workers hold  KEYS[2] its index by time  KEYS[3] the ready list
-- ARGV[2]  its tag there  ARGV[3] the envelope
-- Result   1, or 0 if nobody holds it any more
-- Atomic because it must not be both held and ready.

if redis.call('HDEL', KEYS[1], ARGV[2]) == 0 then return 0 end
redis.call('ZREM', KEYS[2], ARGV[2])
give_back(KEYS[3], ARGV[3])
return 1
