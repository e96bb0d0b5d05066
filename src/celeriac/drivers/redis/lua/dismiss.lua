-- An owner leaves: give back what it holds, bury what it had begun and must not run again, then forget it.
--
-- KEYS[1]  the owner's claims
-- ARGV[2]  owner  ARGV[3] the reason of those dead letters
-- Atomic because no claim may stay behind without an owner.

even_when_full()
local numbers = numbers_of(KEYS[1])
for i = #numbers, 1, -1 do
  local held = redis.call('HGET', KEYS[1], numbers[i])
  if redis.call('HEXISTS', KEYS[1], numbers[i] .. '!') == 1 then
    bury(held, ARGV[2] .. ':' .. numbers[i], ARGV[3])
  else
    give_back(held, false)
  end
end
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
