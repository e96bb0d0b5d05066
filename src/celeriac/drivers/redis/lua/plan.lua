-- Change plans and send what comes of them, each exactly once.
--
-- KEYS     leader, term, due (sorted set), plans (hash name -> "<version>:<packed plan>"), prefix of the histories
-- ARGV[2]  scheduler, or empty if anybody may  ARGV[3] its term  ARGV[4] notes that a history keeps
-- ARGV[5..] per change: name, version that was read, "<next version>:<packed plan>", due in ms or 0, number of messages, number of
--          notes, then per message queue, ready key, due in ms or 0, payload; then the notes
-- Result   per change 1 if it was made, 0 if its plan had been changed; nil if the scheduler does not lead any more
-- Atomic because a message and the step of its plan to the next occurrence must happen together or not at all.

if ARGV[2] ~= '' and (redis.call('GET', KEYS[1]) ~= ARGV[2] or redis.call('GET', KEYS[2]) ~= ARGV[3]) then return nil end
local reply, queues, i = {}, {}, 5
while ARGV[i] do
  local name, version, due = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 3])
  local messages, notes = tonumber(ARGV[i + 4]), tonumber(ARGV[i + 5])
  local first = i + 6
  local known = redis.call('HGET', KEYS[4], name)
  local same = (known and string.match(known, '^%d+') or '0') == version
  if same then
    redis.call('HSET', KEYS[4], name, ARGV[i + 2])
    if due > 0 then redis.call('ZADD', KEYS[3], due, name) else redis.call('ZREM', KEYS[3], name) end
    for n = 0, messages - 1 do
      local at = first + n * 4
      send({ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3]}, name .. ':' .. version .. ':' .. n)
      if not queues[ARGV[at]] then
        queues[ARGV[at]] = true
        redis.call('SADD', QUEUES, ARGV[at])
      end
    end
    for n = 0, notes - 1 do redis.call('LPUSH', KEYS[5] .. name, ARGV[first + messages * 4 + n]) end
    if notes > 0 then redis.call('LTRIM', KEYS[5] .. name, 0, ARGV[4] - 1) end
  end
  reply[#reply + 1] = same and 1 or 0
  i = first + messages * 4 + notes
end
return reply
