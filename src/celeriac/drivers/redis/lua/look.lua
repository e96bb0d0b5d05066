-- The part of a lookout's look that changes something: hold the office, move delayed messages that are due.
--
-- ARGV[2]  node  ARGV[3] ms that the office and the list of queues hold  ARGV[4] key of the list  ARGV[5..] our queues
-- Result   {1 if this node is the lookout else 0, due of the next delayed message in ms or 0, every listened queue ...}
-- Atomic because only one may hold the office, and a delayed message must not be seen in two places.
-- No KEYS on purpose: Redis 7.0 would track every declared key, and the lookout chooses by itself what it tracks.

local office = tonumber(ARGV[3])
for i = 5, #ARGV do
  -- Written rarely, because newer servers track what a script reads, and each write would be told.
  local until_when = redis.call('ZSCORE', ARGV[4], ARGV[i])
  if not until_when or tonumber(until_when) < now() + office / 2 then
    redis.call('ZADD', ARGV[4], now() + office, ARGV[i])
  end
end
local holder = redis.call('GET', LOOKOUT)
if holder and holder ~= ARGV[2] then return {0, 0} end
redis.call('SET', LOOKOUT, ARGV[2], 'PX', ARGV[3])

local reply = {1, 0}
for _, queue in ipairs(redis.call('ZRANGEBYSCORE', ARGV[4], now(), '+inf')) do
  local promoted = promote(queue)
  if promoted > 0 then ring(queue, promoted) end
  reply[2] = earlier(reply[2], queue)
  reply[#reply + 1] = queue
end
return reply
