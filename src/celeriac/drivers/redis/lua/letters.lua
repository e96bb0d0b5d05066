-- The newest dead letters.
--
-- ARGV[2]  how many names
-- Result   {id, ready key, envelope, reason, time of death in ms, deliveries} each
-- Atomic because a letter may be replayed between reading the index and reading the letter.

local reply = {}
for _, id in ipairs(redis.call('ZREVRANGE', LETTER_TIMES, 0, tonumber(ARGV[2]) - 1)) do
  local letters = cmsgpack.unpack(redis.call('HGET', LETTERS, id))
  for i = #letters, 1, -1 do
    local letter = letters[i]
    reply[#reply + 1] = {id, letter[1], letter[2], letter[3], tostring(letter[4]), letter[5]}
  end
end
return reply
