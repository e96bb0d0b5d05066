-- Send messages that are due now to one list, once: what `delay()` calls, kept apart from publish.lua because it is half as
-- costly without the prelude.
--
-- KEYS[1]  the producer's number of its last publish  KEYS[2] ready list  KEYS[3] bell of the queue
-- ARGV[1]  number of this publish  ARGV[2..] payloads
-- Result   1 if they were sent now, 0 if they had been sent before the connection broke
-- Atomic because the number and the messages must be written together.

local last = redis.call('SET', KEYS[1], ARGV[1], 'EX', 120, 'GET')
if last and tonumber(last) >= tonumber(ARGV[1]) then
  -- Of several parts that are sent again, the next must find the number of the last one too.
  redis.call('SET', KEYS[1], last, 'EX', 120)
  return 0
end
local messages = #ARGV - 1
if messages == 1 then
  redis.call('LPUSH', KEYS[2], ARGV[2])
else
  for from = 2, #ARGV, 1000 do redis.call('LPUSH', KEYS[2], unpack(ARGV, from, math.min(from + 999, #ARGV))) end
end
-- As prelude's ring(): at most 8 tokens.
local room = 8 - redis.call('LLEN', KEYS[3])
if room > 0 then
  local tokens = 0
  for _ = 1, math.min(room, messages) do tokens = redis.call('LPUSH', KEYS[3], '1') end
  if tokens <= messages then redis.call('EXPIRE', KEYS[3], 60) end
end
return 1
