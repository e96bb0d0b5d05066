-- Lay down the office of the lookout.
--
-- KEYS[1]  who is the lookout  ARGV[1] node
-- Atomic because another may have taken it over meanwhile.

if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
