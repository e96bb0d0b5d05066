-- The part of a lookout's look that changes something: hold the office, move delayed messages that are due.
--
-- ARGV[2]  node  ARGV[3] ms that the office and the list of queues hold  ARGV[4] key that is written for a new queue
-- ARGV[5..]  our queues
-- Result   {1 if this node is the lookout else 0, ms until the next delayed message is due or 0, then of every listened queue its
--          name and how many of its messages are delayed}
-- Atomic because only one may hold the office, and a delayed message must not be seen in two places.
-- No KEYS on purpose: Redis 7.0 would track every declared key, and the lookout chooses by itself what it tracks.

even_when_full()
local office = tonumber(ARGV[3])
for i = 5, #ARGV do
  -- Written rarely, because newer servers track what a script reads, and each write would be told.
  local until_when = tonumber(redis.call('ZSCORE', LISTENED, ARGV[i]) or 0)
  if until_when < now() + office / 2 then redis.call('ZADD', LISTENED, now() + office, ARGV[i]) end
  if until_when <= now() then redis.call('SET', ARGV[4], ARGV[2], 'PX', office) end
end
local holder = redis.call('GET', LOOKOUT)
if holder and holder ~= ARGV[2] then return {0, 0} end
redis.call('SET', LOOKOUT, ARGV[2], 'PX', ARGV[3])

local reply = {1, 0}
for _, queue in ipairs(redis.call('ZRANGEBYSCORE', LISTENED, now(), '+inf')) do
  local promoted = promote(queue)
  if promoted > 0 then ring(queue, promoted) end
  reply[2] = earlier(reply[2], queue)
  reply[#reply + 1] = queue
  reply[#reply + 1] = redis.call('ZCARD', DELAYED .. queue)
end
-- Told as a time from now, since the lookout's clock may be another.
if reply[2] > 0 then reply[2] = math.max(1, reply[2] - now()) end
return reply
