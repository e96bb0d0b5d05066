-- Make a new owner known and start its node's lease.
--
-- KEYS[1]  the owner's claims (hash)
-- ARGV[2]  owner  ARGV[3] node  ARGV[4] lease in ms  ARGV[5..] queues, for the registry
-- Atomic because an owner without a lease would never be recovered.

even_when_full()
redis.call('HSETNX', KEYS[1], 's', 0)
redis.call('HSET', OWNERS, ARGV[2], ARGV[3])
redis.call('ZADD', NODES, 'GT', now() + tonumber(ARGV[4]), ARGV[3])
for i = 5, #ARGV do redis.call('SADD', QUEUES, ARGV[i]) end
return 1
