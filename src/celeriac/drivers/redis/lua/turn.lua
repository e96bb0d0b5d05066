-- Settle outcomes and claim messages for one owner.
--
-- KEYS[1]  the owner's claims (hash)
-- ARGV[2]  msgpack {sequence number of this turn, first number for new claims, most claims, most bytes}
-- ARGV[3]  msgpack array of queues, in the order of serving: {name, ready key of step 0, of step 3, of step 6, of step 9}
-- ARGV[4]  msgpack {number of results of plain acks, their ttl in ms or 0, fields of claims to drop ...}
-- ARGV[5]  msgpack array of other outcomes: {fields of the claim, fate, result or false, follow-ups, due in ms, reason, id}
--          more results, counts (count.lua)} with results {key, payload, ttl in ms or 0} and follow-ups as prelude's send()
--          takes them; a payload stands there as its index in ARGV, for payloads may be any bytes
-- ARGV[6..] key and payload of the results of plain acks, in turn; then the payloads of ARGV[5]
-- The caller sends outcomes only of claims that it holds, and nobody but the owner can drop one, so it is enough to check
-- the owner. Plain acks go flat: tables and single deletes cost more than the commands that store the results.
-- Result   false: the owner is not known. Otherwise {due of the next delayed message in ms or 0 (only if nothing was claimed;
--          below zero if no lookout will wake anybody for it), false or what is revoked, {queue name, envelope, envelope ...}, ...};
--          claims are numbered in this order. What is revoked: {all ids that the envelopes show, joined by newlines, and each
--          of them that is revoked}; false if nothing is claimed or no task at all is revoked.
-- Atomic because a claim must be settled and the next be held in one step, and because the sequence number makes a turn that is
-- sent again (its reply was lost with the connection) answer the same without settling twice.

local claims = KEYS[1]
local turn = cmsgpack.unpack(ARGV[2])
local sequence, first, want = turn[1], turn[2], turn[3]

local function what_is_revoked(reply)
  if #reply == 2 or redis.call('EXISTS', REVOKED) == 0 then return false end
  local ids = {}
  for run = 3, #reply do
    for i = 2, #reply[run] do ids[#ids + 1] = shown_id(reply[run][i]) end
  end
  local found = {table.concat(ids, '\n')}
  if #ids > 0 then
    for i, till in ipairs(redis.call('ZMSCORE', REVOKED, unpack(ids))) do
      if till and tonumber(till) > now() then found[#found + 1] = ids[i] end
    end
  end
  return found
end

local function without_paused(queues)
  local served = {}
  for _, queue in ipairs(queues) do
    if redis.call('SISMEMBER', PAUSED, queue[1]) == 0 then served[#served + 1] = queue end
  end
  return served
end

local last = redis.call('HGET', claims, 's')
if not last then return false end
even_when_full()

if tonumber(last) == sequence then
  local reply = {0, false}
  local number = first
  local stored = redis.call('HGET', claims, number)
  while stored do
    local ready, envelope = split(stored)
    reply[#reply + 1] = {queue_of(ready), envelope}
    number = number + 1
    stored = redis.call('HGET', claims, number)
  end
  reply[2] = what_is_revoked(reply)
  return reply
end

-- Settle.
local acks = cmsgpack.unpack(ARGV[4])
for from = 3, #acks, 1000 do
  redis.call('HDEL', claims, unpack(acks, from, math.min(from + 999, #acks)))
end
for i = 6, 4 + 2 * acks[1], 2 do
  if acks[2] > 0 then
    redis.call('SET', ARGV[i], ARGV[i + 1], 'PX', acks[2])
  else
    redis.call('SET', ARGV[i], ARGV[i + 1])
  end
  redis.call('PUBLISH', ARGV[i], ARGV[i + 1])
end

local sent, returned = 0, {}
local owner = string.sub(claims, #CLAIMS + 1)

local function save(result)
  if result[3] > 0 then
    redis.call('SET', result[1], ARGV[result[2]], 'PX', result[3])
  else
    redis.call('SET', result[1], ARGV[result[2]])
  end
  redis.call('PUBLISH', result[1], ARGV[result[2]])
end

local function follow(message, payload)
  sent = sent + 1
  for _, members in ipairs(message[5]) do redis.call('SET', members[1], members[2], 'PX', members[3]) end
  send({message[1], message[2], message[3], payload}, owner .. ':' .. sequence .. ':' .. sent)
end

for _, outcome in ipairs(cmsgpack.unpack(ARGV[5])) do
  local fields, fate, result = outcome[1], outcome[2], outcome[3]
  local held
  if fate == 0 then -- ACKED
    held = redis.call('HDEL', claims, unpack(fields)) > 0
  elseif fate == 1 then -- BEGUN
    held = redis.call('HEXISTS', claims, fields[1]) == 1
    if held then redis.call('HSET', claims, fields[1] .. '!', '1') end
  else
    held = redis.call('HGET', claims, fields[1])
    if held then
      redis.call('HDEL', claims, unpack(fields))
      if fate == 4 then -- DEFERRED
        local ready, envelope = split(held)
        delay({queue_of(ready), ready, outcome[5], envelope}, owner .. ':' .. fields[1])
      elseif fate == 5 then -- DEAD
        bury(held, outcome[7], outcome[6])
      else -- GIVEN_BACK, LOST
        returned[#returned + 1] = {held, fate == 3}
      end
    end
  end
  if held then
    if result then save(result) end
    for _, more in ipairs(outcome[8]) do save(more) end
    for _, message in ipairs(outcome[4]) do follow(message, ARGV[message[4]]) end
    for _, counted in ipairs(outcome[9]) do
      local messages, holes = count(counted)
      for _, message in ipairs(messages) do follow(message, fill(ARGV[message[4]], holes)) end
    end
  end
end

-- What goes back to the head of its queue goes last one first, so that the order there is the old one.
for i = #returned, 1, -1 do give_back(returned[i][1], returned[i][2]) end

-- Claim.
local record = {'s', sequence}
local reply = {0, false}
if want > 0 then
  local queues = cmsgpack.unpack(ARGV[3])
  if redis.call('EXISTS', PAUSED) == 1 then queues = without_paused(queues) end
  for _, queue in ipairs(queues) do promote(queue[1]) end

  local number = first
  local room = turn[4]
  for step = 2, 5 do
    for _, queue in ipairs(queues) do
      if want <= 0 or room <= 0 then break end
      local ready = queue[step]
      local run = {queue[1]}
      -- The first one tells how large they are, so that no turn carries more than about the most bytes.
      local envelope = redis.call('RPOP', ready)
      if envelope then
        run[2] = envelope
        local more = math.min(want - 1, math.floor(room / #envelope) - 1)
        if more > 0 then
          local popped = redis.call('RPOP', ready, more)
          if popped then
            for i = 1, #popped do run[i + 2] = popped[i] end
          end
        end
        for i = 2, #run do
          record[#record + 1] = number
          record[#record + 1] = ready .. '\n' .. run[i]
          number = number + 1
          room = room - #run[i]
        end
        want = want - (#run - 1)
        reply[#reply + 1] = run
        -- More are waiting: whoever claims wakes the next, so that a crowd wakes up without the sender counting it.
        if (want <= 0 or room <= 0) and redis.call('LLEN', ready) > 0 and redis.call('EXISTS', BELL .. queue[1]) == 0 then
          ring(queue[1], 1)
        end
      end
    end
  end

  if #reply == 2 then
    -- Nothing is ready, so every token is stale; left alone it would wake us for nothing.
    for _, queue in ipairs(queues) do
      redis.call('DEL', BELL .. queue[1])
      reply[1] = earlier(reply[1], queue[1])
    end
    if reply[1] > 0 and redis.call('EXISTS', LOOKOUT) == 0 then reply[1] = -reply[1] end
  end
end

for from = 1, #record, 2000 do
  redis.call('HSET', claims, unpack(record, from, math.min(from + 1999, #record)))
end
reply[2] = what_is_revoked(reply)
return reply
