-- Take waiting messages out of one queue: those after which nothing comes are removed, an owner gets the others.
--
-- KEYS[1..4]  the queue's ready lists  KEYS[5] its delayed set  KEYS[6] the owner's claims
-- ARGV[2]     how many at most  ARGV[3] the owner  ARGV[4..] how the body of a message ends after which nothing comes
-- Result      how many, or false if the owner is not known
-- Atomic because a message must be gone or held. What is held lies in batches of one.

if redis.call('HEXISTS', KEYS[6], 's') == 0 then return false end
local left = tonumber(ARGV[2])
local taken = 0
local number = redis.call('HLEN', KEYS[6]) -- one more than it holds, for "s" is no claim

local function is_alone(envelope)
  for i = 4, #ARGV do
    if string.find(envelope, ARGV[i], 1, true) then return true end
  end
end

local function take(ready, envelope)
  taken = taken + 1
  if not is_alone(envelope) then
    redis.call('HSET', KEYS[6], number, ready)
    redis.call('RPUSH', batch_of(ARGV[3], number), envelope)
    number = number + 1
  end
end

for step = 1, 4 do
  local popped = left > taken and redis.call('RPOP', KEYS[step], left - taken)
  for _, envelope in ipairs(popped or {}) do take(KEYS[step], envelope) end
end
if left > taken then
  local popped = redis.call('ZPOPMIN', KEYS[5], left - taken)
  for i = 1, #popped, 2 do
    local ready, rest = split(popped[i])
    local _, envelope = split(rest)
    take(ready, envelope)
  end
end
return taken
