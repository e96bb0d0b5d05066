-- Settle outcomes and claim messages for one owner.
--
-- KEYS[1]  the owner's claims (hash); the claims themselves lie in batches, see prelude.lua
-- ARGV[2]  msgpack {sequence number of this turn, first number for new claims, most claims, most bytes, ms that the node's lease
--          must have left or 0, node}
-- ARGV[3]  msgpack array of queues, in the order of serving: {name, ready key of step 0, of step 3, of step 6, of step 9}
-- ARGV[4]  msgpack {number of results of plain acks, their ttl in ms or "", batches of which nothing is held after this turn,
--          {batch, index, batch, index ...} of the claims settled in others, fields of settled claims that had begun}; a batch is
--          told by its first claim, as text. Empty if there are no outcomes
-- ARGV[5]  empty if that is all, else for others.lua: msgpack array of other outcomes: {number of the claim, batch, index in it, fate,
--          result or false, follow-ups, due in ms, reason, id, more results, counts (count.lua)} with results {key, payload, ttl in ms
--          or 0} and follow-ups as moves.lua's
--          send() takes them; a payload stands there as its index in ARGV, for payloads may be any bytes. Then an array of the chords
--          in which something is counted (count.lua); a count is {place of its chord there, id, id of its root, index, item}.
--          Behind what count.lua says a chord has {index in ARGV of the run of its members that come with plain acks, how many they
--          are, id of the last of them, id of its root}
-- ARGV[6..] key and payload of the results of plain acks, in turn; then the members that come with them; then the payloads of ARGV[5]
-- The caller sends outcomes only of claims that it holds, and nobody but the owner can drop one, so it is enough to check
-- the owner. Plain acks go flat, and so do the members of chords that end with one: tables and single deletes cost more than the
-- commands that store the results.
-- Result   false: the owner is not known, or not as it knows itself; nothing if the lease is older than ARGV[2] wants. Otherwise
--          {ms until the next delayed message is due or 0 (only if nothing was claimed;
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

-- How many of these keys there are. One command for all: on an idle machine each takes some 5 us, since nothing of it is in a cache.
local function existing(keys)
  local found = 0
  for from = 1, #keys, 1000 do found = found + redis.call('EXISTS', unpack(keys, from, math.min(from + 999, #keys))) end
  return found
end

-- A batch is {its first claim, ready key, how many}.
local function what_is_revoked(batches)
  if #batches == 0 or redis.call('EXISTS', REVOKED) == 0 then return false end
  local ids = {}
  for _, batch in ipairs(batches) do
    for _, envelope in ipairs(redis.call('LRANGE', batch_of(owner, batch[1]), 0, -1)) do ids[#ids + 1] = shown_id(envelope) end
  end
  local found = {table.concat(ids, '\n')}
  if #ids > 0 then
    for i, till in ipairs(redis.call('ZMSCORE', REVOKED, unpack(ids))) do
      if till and tonumber(till) > now() then found[#found + 1] = ids[i] end
    end
  end
  return found
end

local last = tonumber(redis.call('HGET', claims, 's') or nil)
-- Redis may also be older than what it has answered: a replica took over that had not heard all, or an old copy was loaded. What
-- the owner holds here is not what it believes to hold, so it ends, and whoever cares for it gives back what is here.
if not last or last > sequence or last < sequence - 1 then return false end
even_when_full()

-- What the caller is told of new batches.
local function reply_with(due, batches, revoked)
  local reply = {due, revoked}
  for i, batch in ipairs(batches) do
    local run = {queue_of(batch[2]), batch[3]}
    if i > 1 then
      for j, envelope in ipairs(redis.call('LRANGE', batch_of(owner, batch[1]), 0, -1)) do run[j + 2] = envelope end
    end
    reply[i + 2] = run
  end
  return reply
end

if last == sequence then
  local batches = {}
  for _, batch in ipairs(batches_of(owner)) do
    if batch[1] >= first then
      batch[3] = redis.call('LLEN', batch_of(owner, batch[1]))
      batches[#batches + 1] = batch
    end
  end
  return reply_with(0, batches, what_is_revoked(batches))
end

-- It was said long ago, and was to wait at a bell. A node of which nobody has heard meanwhile may be cut off or stand still:
-- another one is to have it.
if turn[5] > 0 then
  local lease_end = redis.call('ZSCORE', NODES, turn[6])
  if not lease_end or tonumber(lease_end) < now() + turn[5] then
    for _, queue in ipairs(cmsgpack.unpack(ARGV[3])) do ring(queue[1], 1) end
    return {}
  end
end

-- Settle.
local followed = {}
if ARGV[4] ~= '' then
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

  if ARGV[5] ~= '' then settle_others(claims, owner, sequence, followed) end

  -- Drop what is settled.
  for _, batch in ipairs(acks[3]) do
    call('DEL', BATCHES .. owner .. ':' .. batch)
    call('HDEL', claims, batch)
  end
  for i = 1, #acks[4], 2 do
    local key = BATCHES .. owner .. ':' .. acks[4][i]
    if call('EXISTS', key) == 1 then call('LSET', key, acks[4][i + 1], SETTLED) end
  end
  for _, field in ipairs(acks[5]) do call('HDEL', claims, field) end
end

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

local batches, due, anything_rare = {}, 0, false
if want > 0 then
  local queues = cmsgpack.unpack(ARGV[3])
  local rare, lists = {PAUSED, REVOKED}, {}
  for _, queue in ipairs(queues) do rare[#rare + 1] = DELAYED .. queue[1] end
  anything_rare = existing(rare) > 0
  if anything_rare then
    if redis.call('EXISTS', PAUSED) == 1 then
      local served = {}
      for _, queue in ipairs(queues) do
        if redis.call('SISMEMBER', PAUSED, queue[1]) == 0 then served[#served + 1] = queue end
      end
      queues = served
    end
    for _, queue in ipairs(queues) do promote(queue[1]) end
  end

  for _, queue in ipairs(queues) do
    for step = 2, 5 do lists[#lists + 1] = queue[step] end
  end
  -- So many have something in them and were not come by.
  local ahead = existing(lists)
  local number = first
  local room = turn[4]
  for step = 2, 5 do
    for _, queue in ipairs(queues) do
      if ahead <= 0 or want <= 0 or room <= 0 then break end
      local ready = queue[step]
      local waiting = redis.call('LLEN', ready)
      if waiting > 0 then
        ahead = ahead - 1
        local claimed = math.min(want, waiting)
        if claimed > 1 or (want > 1 and ahead > 0) then
          -- The first one tells how large they are, so that no turn carries more than about the most bytes.
          local size = math.max(1, #redis.call('LINDEX', ready, -1))
          claimed = math.max(1, math.min(claimed, math.floor(room / size)))
          room = room - claimed * size
        end
        take(ready, number, claimed)
        batches[#batches + 1] = {number, ready, claimed}
        number = number + claimed
        want = want - claimed
        -- More are waiting: whoever claims wakes the next, so that a crowd wakes up without the sender counting it.
        if (want <= 0 or room <= 0) and waiting > claimed and redis.call('EXISTS', BELL .. queue[1]) == 0 then
          ring(queue[1], 1)
        end
      end
    end
  end

  if #batches == 0 then
    -- Nothing is ready, so every token is stale; left alone it would wake us for nothing.
    for _, queue in ipairs(queues) do
      redis.call('DEL', BELL .. queue[1])
      if anything_rare then due = earlier(due, queue[1]) end
    end
    -- Told as a time from now, since the caller's clock may be another.
    if due > 0 then due = math.max(1, due - now()) end
    if due > 0 and redis.call('EXISTS', LOOKOUT) == 0 then due = -due end
  end
end

-- Only for what this turn has not claimed itself: the next step of a chain wakes nobody.
for ready, follow_ups in pairs(followed) do
  local waiting = redis.call('LLEN', ready)
  if waiting > 0 then ring(follow_ups[1], math.min(waiting, follow_ups[2])) end
end

local record = {'s', sequence}
for i, batch in ipairs(batches) do
  record[2 * i + 1], record[2 * i + 2] = string.format('%.0f', batch[1]), batch[2]
end
for from = 1, #record, 2000 do
  redis.call('HSET', claims, unpack(record, from, math.min(from + 1999, #record)))
end
return reply_with(due, batches, anything_rare and what_is_revoked(batches))
