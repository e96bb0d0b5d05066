-- Become or stay the leader of a group of schedulers, and see what is due.
--
-- KEYS     leader (string with a TTL), term, due (sorted set), plans (hash)
-- ARGV     scheduler, lease in ms, now in ms (the scheduler's clock: the one by which occurrences are), most plans
-- Result   {term, due in ms of the next plan after these or 0, name, packed plan, name, packed plan, ...}; {0, 0} if another leads
-- Atomic because nobody may see plans as a leader who is none.

local leader = redis.call('GET', KEYS[1])
if leader and leader ~= ARGV[1] then return {0, 0} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
local term = tonumber(redis.call('GET', KEYS[2]) or 0)
if not leader then
  -- By the clock too, so that a Redis which comes back empty repeats no term.
  local time = redis.call('TIME')
  term = math.max(term + 1, time[1] * 1000 + math.floor(time[2] / 1000))
  redis.call('SET', KEYS[2], string.format('%.0f', term))
end
local names = redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', ARGV[3], 'LIMIT', 0, ARGV[4])
local head = redis.call('ZRANGE', KEYS[3], #names, #names, 'WITHSCORES')
local reply = {term, head[2] and tonumber(head[2]) or 0}
for _, name in ipairs(names) do
  local packed = redis.call('HGET', KEYS[4], name)
  if packed then
    reply[#reply + 1] = name
    reply[#reply + 1] = packed
  else
    redis.call('ZREM', KEYS[3], name)
  end
end
return reply
