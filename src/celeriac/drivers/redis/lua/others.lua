-- Settle outcomes that are more than plain acks, and count members of chords: what turn.lua has in ARGV[5]. It is a function there,
-- behind moves.lua and count.lua: most turns have no use for it, and in Lua a function that a script defines costs as much as a
-- small command, each time that the script runs.
--
-- Gets     claims, owner and sequence of the turn, and a table for what follows: ready list -> {its queue, how many went there}

local claims, owner, sequence, followed = ...

local sent, returned = 0, {}

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
