-- Stands before every other script: the words that they share.
--
-- KEYS[1]  is each script's own
-- ARGV[1]  msgpack array of the key prefixes that drivers/redis/keys.py spells (see Scripts.names)
-- Why in Lua: every move of a message from one place to another is one atomic step in Redis.

local NAMES = cmsgpack.unpack(ARGV[1])
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

-- A message is {queue, ready key, due in ms or 0, payload}; `unique` keeps equal payloads apart while they are delayed.
local function delay(message, unique)
  redis.call('ZADD', DELAYED .. message[1], message[3], message[2] .. '\n' .. unique .. '\n' .. message[4])
  ring(message[1], 1)
end

-- A stock worker would never find what is delayed here. So where such may be about and none of ours serves the queue, a message
-- waits for its time among the ready ones: a stock worker keeps it until it is due, and one of ours would put it aside.
-- Their signs are an exchange of the queue's name, as most have it, and that of remote control, which is there while one runs.
local function may_be_delayed(queue)
  local until_when = redis.call('ZSCORE', LISTENED, queue)
  return until_when and tonumber(until_when) > now() or redis.call('EXISTS', BINDINGS .. queue, BINDINGS .. 'celery.pidbox') == 0
end

-- Send one message.
local function send(message, unique)
  if message[3] > 0 and may_be_delayed(message[1]) then return delay(message, unique) end
  redis.call('LPUSH', message[2], message[4])
  ring(message[1], 1)
end

-- The id of its task as an envelope shows it, nil if it does not; see drivers/revoked.py.
local function shown_id(envelope)
  local _, at = string.find(envelope, '"id":', 1, true)
  return at and string.match(envelope, '^ ?"([^"\\]+)"', at + 1)
end

-- Forget revoked tasks whose time is over, as many as one step may.
local function sweep_revoked()
  local over = redis.call('ZRANGEBYSCORE', REVOKED, '-inf', now(), 'LIMIT', 0, 2000)
  if #over > 0 then redis.call('ZREM', REVOKED, unpack(over)) end
end

-- How many owners died over this message: kept at the very end of the envelope, where foreign readers overlook it.
local function deliveries_of(envelope)
  local count = string.match(string.sub(envelope, -40), ',"deliveries":(%d+)}$')
  return count and tonumber(count) or 0
end

-- How they died stands before that: the last few, each without brackets; see _claim in broker.py.
local DEATHS, MOST_DEATHS = ',"deaths":', 8

-- An envelope without both, its last bracket too, and how they died. nil: no JSON object, so it can never begin to run.
local function without_deliveries(envelope)
  local tail = string.match(string.sub(envelope, -40), ',"deliveries":%d+}$')
  if not tail then return string.sub(envelope, -1) == '}' and string.sub(envelope, 1, -2) or nil, {} end
  local body = string.sub(envelope, 1, -#tail - 1)
  local deaths = string.match(string.sub(body, -4000), DEATHS .. '(%[[^%[%]]*%])$')
  if not deaths then return body, {} end
  return string.sub(body, 1, -#deaths - #DEATHS - 1), cjson.decode(deaths)
end

-- Back to the head of its queue; `how` its owner died, '' if that is not known, false if it did not die over it.
local function give_back(ready, envelope, how)
  local body, deaths = without_deliveries(envelope)
  if how and body then
    if how ~= '' then deaths[#deaths + 1] = how end
    if #deaths > MOST_DEATHS then table.remove(deaths, 1) end
    local told = #deaths > 0 and DEATHS .. cjson.encode(deaths) or ''
    envelope = body .. told .. ',"deliveries":' .. deliveries_of(envelope) + 1 .. '}'
  end
  redis.call('RPUSH', ready, envelope)
  ring(queue_of(ready), 1)
end

-- Letters of one name (a task that died, was replayed and sent again) lie together.
local function bury(ready, envelope, id, reason)
  local packed = redis.call('HGET', LETTERS, id)
  local letters = packed and cmsgpack.unpack(packed) or {}
  letters[#letters + 1] = {ready, envelope, reason, now(), deliveries_of(envelope)}
  redis.call('HSET', LETTERS, id, cmsgpack.pack(letters))
  redis.call('ZADD', LETTER_TIMES, now(), id)
  redis.call('HINCRBY', LETTER_COUNTS, queue_of(ready), 1)
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

-- All claims of an owner in ascending order: {number, first of its batch, ready key, envelope}.
local function held_by(owner)
  local held = {}
  for _, batch in ipairs(batches_of(owner)) do
    for i, envelope in ipairs(redis.call('LRANGE', batch_of(owner, batch[1]), 0, -1)) do
      if envelope ~= SETTLED then held[#held + 1] = {batch[1] + i - 1, batch[1], batch[2], envelope} end
    end
  end
  return held
end

-- The same as a reply: number, first of its batch, ready key, envelope, 1 if it has begun else 0; then the next claim.
local function told_of(owner)
  local reply = {}
  for _, claim in ipairs(held_by(owner)) do
    for _, part in ipairs(claim) do reply[#reply + 1] = part end
    reply[#reply + 1] = redis.call('HEXISTS', CLAIMS .. owner, string.format('%.0f!', claim[1]))
  end
  return reply
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
