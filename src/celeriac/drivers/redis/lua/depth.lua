-- Count the messages of queues in every place.
--
-- ARGV[2]  number of step suffixes, then the suffixes, then the queues
-- Result   per queue {ready, delayed, claimed, dead}
-- Atomic so that a message on its way from one place to another is counted once.

local claimed = {}
for _, owner in ipairs(redis.call('HKEYS', OWNERS)) do
  for _, batch in ipairs(batches_of(owner)) do
    local key, queue = batch_of(owner, batch[1]), queue_of(batch[2])
    local settled = #redis.call('LPOS', key, SETTLED, 'COUNT', 0)
    claimed[queue] = (claimed[queue] or 0) + redis.call('LLEN', key) - settled
  end
end

local suffixes = tonumber(ARGV[2])
local prefix = string.sub(OWNERS, 1, PREFIX_LENGTH)
local reply = {}
for i = 3 + suffixes, #ARGV do
  local queue = ARGV[i]
  local ready = redis.call('LLEN', prefix .. queue)
  for s = 3, 2 + suffixes do ready = ready + redis.call('LLEN', prefix .. queue .. ARGV[s]) end
  local dead = tonumber(redis.call('HGET', LETTER_COUNTS, queue) or '0')
  reply[#reply + 1] = {ready, redis.call('ZCARD', DELAYED .. queue), claimed[queue] or 0, dead}
end
return reply
