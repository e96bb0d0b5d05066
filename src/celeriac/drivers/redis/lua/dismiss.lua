-- An owner leaves: give back what it holds, bury what it had begun and must not run again, then forget it.
--
-- KEYS[1]  the owner's claims
-- ARGV[2]  owner  ARGV[3] the reason of those dead letters
-- Atomic because no claim may stay behind without an owner.

even_when_full()
local held = held_by(ARGV[2])
for i = #held, 1, -1 do
  local number, ready, envelope = string.format('%.0f', held[i][1]), held[i][3], held[i][4]
  if redis.call('HEXISTS', KEYS[1], number .. '!') == 1 then
    bury(ready, envelope, ARGV[2] .. ':' .. number, ARGV[3])
  else
    give_back(ready, envelope, false)
  end
end
for _, batch in ipairs(batches_of(ARGV[2])) do redis.call('DEL', batch_of(ARGV[2], batch[1])) end
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
