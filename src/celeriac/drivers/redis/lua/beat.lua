-- Renew a node's lease; find the owners of nodes whose lease ran out.
--
-- ARGV[2]  node  ARGV[3] lease in ms
-- Result   owners to adopt
-- Atomic because a node must not be judged by a lease that is being renewed.

even_when_full()
local mine = tonumber(redis.call('ZSCORE', NODES, ARGV[2]) or now())
local lease_end = now() + tonumber(ARGV[3])
redis.call('ZADD', NODES, lease_end, ARGV[2])
sweep_revoked()
local lost = redis.call('ZRANGEBYSCORE', NODES, '-inf', now())
if #lost == 0 then return {} end
if mine < now() then
  -- Our own lease had run out too, so perhaps Redis was away from all of us: the others get one more to say that they live.
  for _, node in ipairs(lost) do redis.call('ZADD', NODES, lease_end, node) end
  return {}
end

local orphans, expired = {}, {}
for _, node in ipairs(lost) do expired[node] = 0 end
local owners = redis.call('HGETALL', OWNERS)
for i = 1, #owners, 2 do
  local node = owners[i + 1]
  if expired[node] then
    expired[node] = expired[node] + 1
    orphans[#orphans + 1] = owners[i]
  end
end
for node, owned in pairs(expired) do
  if owned == 0 then redis.call('ZREM', NODES, node) end
end
return orphans
