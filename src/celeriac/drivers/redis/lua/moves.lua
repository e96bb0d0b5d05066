-- Stands behind the prelude: how messages are sent, delayed, given back and buried.

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

-- How they died stands before that: the last few, each without brackets; see claim_of in turns.py.
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

