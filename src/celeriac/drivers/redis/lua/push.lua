-- Add parts to the stream of a task.
--
-- KEYS[1]  the number of its last part  KEYS[2] the stream: entries "<number>-0" with one field
-- ARGV[1]  number of the first part here  ARGV[2] how many are kept  ARGV[3] ttl in ms or 0  ARGV[4..] the parts
-- Atomic because a part that was pushed before, by a run that died or by one that is thought dead, must stay what it is.

local last = tonumber(redis.call('GET', KEYS[1]) or 0)
local before = last
for i = 4, #ARGV do
  local number = tonumber(ARGV[1]) + i - 4
  if number > last then
    redis.call('XADD', KEYS[2], 'MAXLEN', ARGV[2], number .. '-0', 'part', ARGV[i])
    last = number
  end
end
if last > before then
  redis.call('SET', KEYS[1], last)
  if ARGV[3] ~= '0' then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    redis.call('PEXPIRE', KEYS[2], ARGV[3])
  end
  redis.call('PUBLISH', KEYS[1], last)
end
