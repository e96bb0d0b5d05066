-- Send messages, once.
--
-- KEYS[1]  the producer's number of its last publish (string, with a TTL)
-- KEYS[2..] keys of chords whose headers are whole with these messages; with .t, where one more member is counted
-- ARGV[2]  number of this publish; one that is sent again after a broken connection finds its number here and does nothing
-- ARGV[3]  1 to note the queues' names in the registry (a producer does so the first time it uses a queue)
-- ARGV[4..] per message: queue, ready key, due in ms or 0, payload
-- Result   how many were sent
-- Atomic because the number and the messages must be written together.

local number = tonumber(ARGV[2])
local last = redis.call('GET', KEYS[1])
if last and tonumber(last) >= number then return 0 end
redis.call('SET', KEYS[1], number, 'EX', 120)

local i, count = 4, 0
while ARGV[i] do
  local queue, ready, due = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2])
  count = count + 1
  if due > 0 then
    send({queue, ready, due, ARGV[i + 3]}, KEYS[1] .. ':' .. number .. ':' .. count)
    i = i + 4
  else
    -- A run of messages for one list goes in one call.
    local run = {}
    while ARGV[i + 1] == ready and ARGV[i + 2] == '0' and #run < 1000 do
      run[#run + 1] = ARGV[i + 3]
      i = i + 4
    end
    redis.call('LPUSH', ready, unpack(run))
    ring(queue, #run)
    count = count + #run - 1
  end
  if ARGV[3] == '1' then redis.call('SADD', QUEUES, queue) end
end
for of_chord = 2, #KEYS do
  local key = KEYS[of_chord]
  if string.sub(key, -2) == '.t' then
    redis.call('INCR', key)
    redis.call('PEXPIRE', key, math.max(1000, redis.call('PTTL', string.sub(key, 1, -3) .. '.s')))
  else
    redis.call('SREM', HEADERS, key)
    redis.call('DEL', key .. '.o')
  end
end
return count
