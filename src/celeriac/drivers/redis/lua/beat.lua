-- Renew a node's lease; find the owners of nodes whose lease ran out; break chords whose producers are gone.
--
-- ARGV[2]  node  ARGV[3] lease in ms  ARGV[4] what is counted for members that were never sent, with \4 for the id of their chord
-- ARGV[5..] the owners of this node that live; none: they are not looked at
-- Result   owners to adopt
-- Atomic because a node must not be judged by a lease that is being renewed.

even_when_full()
local lease_end = now() + tonumber(ARGV[3])
local mine = tonumber(redis.call('ZSCORE', NODES, ARGV[2]) or lease_end)
redis.call('ZADD', NODES, lease_end, ARGV[2])
sweep_revoked()

local chords = counting()

-- A part of its header was sent, and nothing more of it for too long.
local function break_off(key)
  local messages, kept = chords.told_of_broken(key), redis.call('PTTL', key .. '.b')
  if #messages == 0 or redis.call('EXISTS', key .. '.c') == 1 then return end
  redis.call('SET', key .. '.c', 'done', 'PX', math.max(kept, chords.THROUGH * 1000)) -- what was sent is still running
  chords.forget(key)
  local id = chords.escaped(string.match(key, 'celery%-taskset%-meta%-(.*)$'))
  local holes = {['\0'] = chords.escaped(chords.fill(ARGV[4], {['\4'] = id})), ['\1'] = id, ['\2'] = id, ['\3'] = id}
  for _, message in ipairs(messages) do
    send({message[1], message[2], message[3], chords.fill(ARGV[message[4]], holes)}, key)
  end
end
for _, key in ipairs(redis.call('SRANDMEMBER', HEADERS, 100)) do
  if redis.call('EXISTS', key .. '.o') == 0 then
    redis.call('SREM', HEADERS, key)
    break_off(key)
  end
end

-- What was counted as a stock worker cannot: one may have come meanwhile, and have counted the last member.
for _, key in ipairs(redis.call('SRANDMEMBER', CHORDS, 100)) do
  local messages, holes = chords.share(key)
  for _, message in ipairs(messages) do
    for _, members in ipairs(message[5]) do redis.call('SET', members[1], members[2], 'PX', members[3]) end
    send({message[1], message[2], message[3], chords.fill(ARGV[message[4]], holes)}, key)
  end
end

local lost = redis.call('ZRANGEBYSCORE', NODES, '-inf', now())
if #lost == 0 and not ARGV[5] then return {} end
if mine < now() + tonumber(ARGV[3]) / 3 then
  -- We are late ourselves, so perhaps Redis was away from all of us: the others get one more lease to say that they live. A lease
  -- can run out over a shorter absence than itself, for its last beat may be a third older.
  for _, node in ipairs(lost) do redis.call('ZADD', NODES, lease_end, node) end
  return {}
end

local orphans, expired, living = {}, {}, {}
for _, node in ipairs(lost) do expired[node] = 0 end
for i = 5, #ARGV do living[ARGV[i]] = true end
local owners = redis.call('HGETALL', OWNERS)
for i = 1, #owners, 2 do
  local node = owners[i + 1]
  if expired[node] then
    expired[node] = expired[node] + 1
    orphans[#orphans + 1] = owners[i]
  elseif ARGV[5] and node == ARGV[2] and not living[owners[i]] then
    orphans[#orphans + 1] = owners[i]
  end
end
for node, owned in pairs(expired) do
  if owned == 0 then redis.call('ZREM', NODES, node) end
end
return orphans
