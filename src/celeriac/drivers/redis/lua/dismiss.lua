-- An owner leaves: give back what it holds, then forget it.
--
-- KEYS[1]  the owner's claims
-- ARGV[2]  owner
-- Atomic because no claim may stay behind without an owner.

even_when_full()
local numbers = numbers_of(KEYS[1])
for i = #numbers, 1, -1 do give_back(redis.call('HGET', KEYS[1], numbers[i]), false) end
redis.call('DEL', KEYS[1])
local node = redis.call('HGET', OWNERS, ARGV[2])
redis.call('HDEL', OWNERS, ARGV[2])
if node then
  for _, other in ipairs(redis.call('HVALS', OWNERS)) do
    if other == node then return 1 end
  end
  redis.call('ZREM', NODES, node)
end
return 1
