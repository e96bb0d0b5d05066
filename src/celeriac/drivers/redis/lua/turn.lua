-- Settle outcomes and claim messages for one owner.
--
-- KEYS[1]  the owner's claims (hash); the claims themselves lie in batches, see prelude.lua
-- ARGV[2]  msgpack {sequence number of this turn, first number for new claims, most claims, most bytes, ms that the node's lease
--          must have left or 0}
-- ARGV[3]  msgpack array of queues, in the order of serving: {name, ready key of step 0, of step 3, of step 6, of step 9}
-- ARGV[4]  msgpack {number of results of plain acks, their ttl in ms or "", batches of which nothing is held after this turn,
--          {batch, index, batch, index ...} of the claims settled in others, fields of settled claims that had begun}; a batch is
--          told by its first claim, as text
-- ARGV[5]  msgpack array of other outcomes: {number of the claim, batch, index in it, fate, result or false, follow-ups, due in ms,
--          reason, id, more results, counts (count.lua)} with results {key, payload, ttl in ms or 0} and follow-ups as prelude's
--          send() takes them; a payload stands there as its index in ARGV, for payloads may be any bytes. Then an array of the chords
--          in which something is counted (count.lua); a count is {place of its chord there, id, id of its root, index, item}.
--          Behind what count.lua says a chord has {index in ARGV of the run of its members that come with plain acks, how many they
--          are, id of the last of them, id of its root}
-- ARGV[6..] key and payload of the results of plain acks, in turn; then the members that come with them; then the payloads of ARGV[5]
-- The caller sends outcomes only of claims that it holds, and nobody but the owner can drop one, so it is enough to check
-- the owner. Plain acks go flat, and so do the members of chords that end with one: tables and single deletes cost more than the
-- commands that store the results.
-- Result   false: the owner is not known, or not as it knows itself; nothing if the lease is older than ARGV[2] wants. Otherwise
--          {due of the next delayed message in ms or 0 (only if nothing was claimed;
--          below zero if no lookout will wake anybody for it), false or what is revoked, run, run ...} with a run for each list
--          from which something was claimed; claims are numbered in this order. The first run is {queue, how many}: the caller
--          reads its envelopes from the batch of its first claim, right behind this script, for they cost less on that way. The
--          others, which are rare, are {queue, how many, envelope, envelope ...}. What is revoked: {all ids that the envelopes show,
--          joined by newlines, and each of them that is revoked}; false if nothing is claimed or no task at all is revoked.
-- Atomic because a claim must be settled and the next be held in one step, and because the sequence number makes a turn that is
-- sent again (its reply was lost with the connection) answer the same without settling twice.

local claims = KEYS[1]
local turn = cmsgpack.unpack(ARGV[2])
local sequence, first, want = turn[1], turn[2], turn[3]

local owner = string.sub(claims, #CLAIMS + 1)

-- Of these batches.
local function what_is_revoked(firsts)
  if #firsts == 0 or redis.call('EXISTS', REVOKED) == 0 then return false end
  local ids = {}
  for _, first in ipairs(firsts) do
    for _, envelope in ipairs(redis.call('LRANGE', batch_of(owner, first), 0, -1)) do ids[#ids + 1] = shown_id(envelope) end
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

local last = tonumber(redis.call('HGET', claims, 's') or nil)
-- Redis may also be older than what it has answered: a replica took over that had not heard all, or an old copy was loaded. What
-- the owner holds here is not what it believes to hold, so it ends, and whoever cares for it gives back what is here.
if not last or last > sequence or last < sequence - 1 then return false end
even_when_full()

-- What the caller is told of new batches.
local function reply_with(due, firsts, readies)
  local reply = {due, what_is_revoked(firsts)}
  for i, first in ipairs(firsts) do
    local run = {queue_of(readies[i])}
    if i == 1 then
      run[2] = redis.call('LLEN', batch_of(owner, first))
    else
      local envelopes = redis.call('LRANGE', batch_of(owner, first), 0, -1)
      run[2] = #envelopes
      for j = 1, #envelopes do run[j + 2] = envelopes[j] end
    end
    reply[i + 2] = run
  end
  return reply
end

if last == sequence then
  local firsts, readies = {}, {}
  for _, batch in ipairs(batches_of(owner)) do
    if batch[1] >= first then
      firsts[#firsts + 1], readies[#readies + 1] = batch[1], batch[2]
    end
  end
  return reply_with(0, firsts, readies)
end

-- It was said long ago, and was to wait at a bell. A node of which nobody has heard meanwhile may be cut off or stand still:
-- another one is to have it.
if turn[5] > 0 then
  local lease_end = redis.call('ZSCORE', NODES, redis.call('HGET', OWNERS, owner) or '')
  if not lease_end or tonumber(lease_end) < now() + turn[5] then
    for _, queue in ipairs(cmsgpack.unpack(ARGV[3])) do ring(queue[1], 1) end
    return {}
  end
end

-- Settle.
local acks = cmsgpack.unpack(ARGV[4])
local ttl = acks[2]
local call = redis.call
for i = 6, 4 + 2 * acks[1], 2 do
  if ttl ~= '' then
    call('PSETEX', ARGV[i], ttl, ARGV[i + 1])
  else
    call('SET', ARGV[i], ARGV[i + 1])
  end
  call('PUBLISH', ARGV[i], ARGV[i + 1])
end

local sent, returned = 0, {}

local function save(result)
  if result[3] > 0 then
    redis.call('SET', result[1], ARGV[result[2]], 'PX', result[3])
  else
    redis.call('SET', result[1], ARGV[result[2]])
  end
  redis.call('PUBLISH', result[1], ARGV[result[2]])
end

-- Ready list -> {its queue, how many follow-ups went there}.
local followed = {}

local function follow(message, payload)
  sent = sent + 1
  for _, members in ipairs(message[5]) do redis.call('SET', members[1], members[2], 'PX', members[3]) end
  local queue, ready, due = message[1], message[2], message[3]
  if due > 0 and may_be_delayed(queue) then return delay({queue, ready, due, payload}, owner .. ':' .. sequence .. ':' .. sent) end
  redis.call('LPUSH', ready, payload)
  followed[ready] = {queue, (followed[ready] and followed[ready][2] or 0) + 1}
end

local counted, others = {}, cmsgpack.unpack(ARGV[5])
for _, outcome in ipairs(others[1]) do
  local number, batch, fate, result = outcome[1], outcome[2], outcome[4], outcome[5]
  local ready = redis.call('HGET', claims, batch)
  local held = ready
  if held and fate == 1 then -- BEGUN
    redis.call('HSET', claims, number .. '!', '1')
  elseif held and fate > 1 then
    local envelope = redis.call('LINDEX', BATCHES .. owner .. ':' .. batch, outcome[3])
    held = envelope and envelope ~= SETTLED
    if held then
      if fate == 4 then -- DEFERRED
        delay({queue_of(ready), ready, outcome[7], envelope}, owner .. ':' .. number)
      elseif fate == 5 then -- DEAD
        bury(ready, envelope, outcome[9], outcome[8])
      else -- GIVEN_BACK, LOST
        returned[#returned + 1] = {ready, envelope, fate == 3 and outcome[8]}
      end
    end
  end
  if held then
    if result then save(result) end
    for _, more in ipairs(outcome[10]) do save(more) end
    for _, message in ipairs(outcome[6]) do follow(message, ARGV[message[4]]) end
    for _, member in ipairs(outcome[11]) do
      local members = counted[member[1]] or {}
      counted[member[1]] = members
      members[#members + 1] = member
    end
  end
end

-- Members of chords are counted, and what that sets off is sent.
if #others[2] > 0 then
  local chords = counting()
  local function tally(chord, packed, size, last, root)
    local messages, holes = chords.count(chord, packed, size, last, root)
    for _, message in ipairs(messages) do follow(message, chords.fill(ARGV[message[4]], holes)) end
  end

  for place, chord in ipairs(others[2]) do
    if chord[8] > 0 then tally(chord, ARGV[chord[7]], chord[8], chord[9], chord[10]) end
    local members, run = counted[place], {}
    if members then
      for i, member in ipairs(members) do run[i] = {member[4], false, ARGV[member[5]]} end
      tally(chord, cmsgpack.pack(run), #members, members[#members][2], members[#members][3])
    end
  end
end

-- What goes back to the head of its queue goes last one first, so that the order there is the old one.
for i = #returned, 1, -1 do give_back(returned[i][1], returned[i][2], returned[i][3]) end

-- Drop what is settled.
for _, batch in ipairs(acks[3]) do
  redis.call('DEL', BATCHES .. owner .. ':' .. batch)
  redis.call('HDEL', claims, batch)
end
for i = 1, #acks[4], 2 do
  local key = BATCHES .. owner .. ':' .. acks[4][i]
  if redis.call('EXISTS', key) == 1 then redis.call('LSET', key, acks[4][i + 1], SETTLED) end
end
for _, field in ipairs(acks[5]) do redis.call('HDEL', claims, field) end

-- Claim.

-- The `count` oldest messages of a list become a batch. SORT, told not to sort, is the one command that takes them there without
-- their passing through here, in one step from Redis 7 on; where it is older or forbids SORT they take the long way.
local function take(ready, first, count)
  local batch = batch_of(owner, first)
  if redis.REDIS_VERSION_NUM then
    local moved = redis.pcall('SORT', ready, 'BY', 'nosort', 'DESC', 'LIMIT', 0, count, 'STORE', batch)
    if moved == count then
      redis.call('LTRIM', ready, 0, -count - 1)
      return
    end
    redis.call('DEL', batch)
  end
  redis.call('RPUSH', batch, unpack(redis.call('RPOP', ready, count)))
end

local firsts, readies, due = {}, {}, 0
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
      local waiting = redis.call('LLEN', ready)
      if waiting > 0 then
        local claimed = math.min(want, waiting)
        if want > 1 then
          -- The first one tells how large they are, so that no turn carries more than about the most bytes.
          local size = math.max(1, #redis.call('LINDEX', ready, -1))
          claimed = math.max(1, math.min(claimed, math.floor(room / size)))
          room = room - claimed * size
        end
        take(ready, number, claimed)
        firsts[#firsts + 1], readies[#readies + 1] = number, ready
        number = number + claimed
        want = want - claimed
        -- More are waiting: whoever claims wakes the next, so that a crowd wakes up without the sender counting it.
        if (want <= 0 or room <= 0) and waiting > claimed and redis.call('EXISTS', BELL .. queue[1]) == 0 then
          ring(queue[1], 1)
        end
      end
    end
  end

  if #firsts == 0 then
    -- Nothing is ready, so every token is stale; left alone it would wake us for nothing.
    for _, queue in ipairs(queues) do
      redis.call('DEL', BELL .. queue[1])
      due = earlier(due, queue[1])
    end
    if due > 0 and redis.call('EXISTS', LOOKOUT) == 0 then due = -due end
  end
end

-- Only for what this turn has not claimed itself: the next step of a chain wakes nobody.
for ready, follow_ups in pairs(followed) do
  local waiting = redis.call('LLEN', ready)
  if waiting > 0 then ring(follow_ups[1], math.min(waiting, follow_ups[2])) end
end

local record = {'s', sequence}
for i, first in ipairs(firsts) do
  record[2 * i + 1], record[2 * i + 2] = string.format('%.0f', first), readies[i]
end
for from = 1, #record, 2000 do
  redis.call('HSET', claims, unpack(record, from, math.min(from + 1999, #record)))
end
return reply_with(due, firsts, readies)
