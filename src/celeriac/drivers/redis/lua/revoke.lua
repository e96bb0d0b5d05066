-- Note that tasks shall not begin any more; find those that may have begun.
--
-- ARGV[2]  how long to keep it in ms  ARGV[3..] ids of tasks
-- Result   the ids of which an owner holds a message, and all if one that is held does not show its task's id
-- Atomic because who is told that a task was not held must be sure that nobody claims it as if it were not revoked.

sweep_revoked()

-- What is delayed now must still be revoked when it is due.
local last_due = now()
for _, queue in ipairs(redis.call('SMEMBERS', QUEUES)) do
  local last = redis.call('ZRANGE', DELAYED .. queue, -1, -1, 'WITHSCORES')
  if last[2] then last_due = math.max(last_due, tonumber(last[2])) end
end
local till = string.format('%.0f', last_due + tonumber(ARGV[2]))

local revoked = {}
for i = 3, #ARGV do
  redis.call('ZADD', REVOKED, 'GT', till, ARGV[i])
  revoked[ARGV[i]] = true
end
local longest = redis.call('ZRANGE', REVOKED, -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', REVOKED, longest[2])

local held = {}
for _, owner in ipairs(redis.call('HKEYS', OWNERS)) do
  for _, claim in ipairs(held_by(owner)) do
    local id = shown_id(claim[4])
    if not id then return {unpack(ARGV, 3)} end
    if revoked[id] then held[#held + 1] = id end
  end
end
return held
