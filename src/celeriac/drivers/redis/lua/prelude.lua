-- Stands before every other script: the words that they share.
--
-- KEYS[1]  is each script's own
-- ARGV[1]  msgpack array of the key prefixes that drivers/redis/keys.py spells, empty if they are the usual ones; scripts.py makes
--          NAMES of it in the line before these
-- Why in Lua: every move of a message from one place to another is one atomic step in Redis.

local CLAIMS, OWNERS, NODES, DELAYED, BELL = NAMES[1], NAMES[2], NAMES[3], NAMES[4], NAMES[5]
local LETTERS, LETTER_TIMES, LETTER_COUNTS, QUEUES = NAMES[6], NAMES[7], NAMES[8], NAMES[9]
local LOOKOUT, PREFIX_LENGTH, REVOKED = NAMES[10], NAMES[11], NAMES[12]
local LISTENED, BINDINGS, PAUSED, BATCHES, HEADERS = NAMES[13], NAMES[14], NAMES[15], NAMES[16], NAMES[17]
local CHORDS = NAMES[18]

-- Tokens that may lie in one bell: enough to wake a small crowd, who then wake the rest; more would only be stale.
local MOST_TOKENS = 8

-- A full Redis (maxmemory with noeviction) refuses a script at its first write if that may need memory, but not what comes after
-- a write that needs none. Workers must go on there, since only they make room, so their scripts begin with this; a producer's
-- do not. (The flag allow-oom would say the same to Redis 7 alone.)
local function even_when_full() redis.call('HDEL', OWNERS, '') end

local clock
local function now()
  if not clock then
    local time = redis.call('TIME')
    clock = time[1] * 1000 + math.floor(time[2] / 1000)
  end
  return clock
end

-- Wake as many idle children as there are new messages, but no more than the bell can hold.
local function ring(queue, messages)
  local bell = BELL .. queue
  local tokens = redis.call('LLEN', bell)
  if tokens >= MOST_TOKENS then return end
  for _ = 1, math.min(messages, MOST_TOKENS - tokens) do redis.call('LPUSH', bell, '1') end
  redis.call('EXPIRE', bell, 60)
end

-- A delayed message is stored as "<ready key>\n<unique>\n<envelope>"; a queue's name holds no newline.
local function split(stored)
  local at = string.find(stored, '\n', 1, true)
  return string.sub(stored, 1, at - 1), string.sub(stored, at + 1)
end

local function queue_of(ready)
  local at = string.find(ready, '\6\22', 1, true)
  return string.sub(ready, PREFIX_LENGTH + 1, at and at - 1 or -1)
end

-- The id of its task as an envelope shows it, nil if it does not; see drivers/revoked.py.
local function shown_id(envelope)
  local _, at = string.find(envelope, '"id":', 1, true)
  return at and string.match(envelope, '^ ?"([^"\\]+)"', at + 1)
end

-- What an owner holds lies in batches, as it was claimed: lists of envelopes. Its hash has the number of the first claim of each
-- batch -> the ready key from which they came, "<number>!" for each claim that has begun, and "s". Envelopes go from list to list
-- within Redis: here every byte of a new string is hashed, which for a message would cost more than all else that is done with it.
local function batch_of(owner, first) return BATCHES .. owner .. ':' .. string.format('%.0f', first) end

-- Stands in a batch where a claim is settled while others are not.
local SETTLED = '\0settled\0'

-- {{first claim, ready key} ...} in ascending order.
local function batches_of(owner)
  local batches = {}
  local fields = redis.call('HGETALL', CLAIMS .. owner)
  for i = 1, #fields, 2 do
    local first = tonumber(fields[i])
    if first then batches[#batches + 1] = {first, fields[i + 1]} end
  end
  table.sort(batches, function(one, other) return one[1] < other[1] end)
  return batches
end

-- Delayed messages of one queue whose time has come go to the tail of their ready lists; returns how many.
local function promote(queue)
  local delayed = DELAYED .. queue
  local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now(), 'LIMIT', 0, 256)
  if #due == 0 then return 0 end
  for _, stored in ipairs(due) do
    local ready, rest = split(stored)
    local _, envelope = split(rest)
    redis.call('LPUSH', ready, envelope)
  end
  redis.call('ZREM', delayed, unpack(due))
  return #due
end

-- The earlier of `due` (0 is none) and the first delayed message of the queue, in ms.
local function earlier(due, queue)
  local head = redis.call('ZRANGE', DELAYED .. queue, 0, 0, 'WITHSCORES')
  if head[2] and (due == 0 or tonumber(head[2]) < due) then return tonumber(head[2]) end
  return due
end
