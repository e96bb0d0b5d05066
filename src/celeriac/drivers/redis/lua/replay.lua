-- Put dead letters back to the tail of their queues, with deliveries 0.
--
-- ARGV[2..]  letter ids
-- Result     how many
-- Atomic because a letter must not be both dead and ready.

local count = 0
for i = 2, #ARGV do
  local packed = redis.call('HGET', LETTERS, ARGV[i])
  if packed then
    redis.call('HDEL', LETTERS, ARGV[i])
    redis.call('ZREM', LETTER_TIMES, ARGV[i])
    for _, letter in ipairs(cmsgpack.unpack(packed)) do
      local queue = queue_of(letter[1])
      if redis.call('HINCRBY', LETTER_COUNTS, queue, -1) <= 0 then redis.call('HDEL', LETTER_COUNTS, queue) end
      local body = deliveries_of(letter[2]) > 0 and without_deliveries(letter[2])
      redis.call('LPUSH', letter[1], body and body .. '}' or letter[2])
      ring(queue, 1)
      count = count + 1
    end
  end
end
return count
