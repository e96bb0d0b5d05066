-- Give back what an owner holds and will not begin.
--
-- ARGV[2]  owner  ARGV[3] number above which  ARGV[4] number up to which
-- Result   how many
-- Atomic because no claim may be both held and ready.

even_when_full()
local above, upto, count = tonumber(ARGV[3]), tonumber(ARGV[4]), 0
local held = held_by(ARGV[2])
for i = #held, 1, -1 do
  local number, first, ready, envelope = held[i][1], held[i][2], held[i][3], held[i][4]
  if number > above and number <= upto then
    redis.call('LSET', batch_of(ARGV[2], first), number - first, SETTLED)
    redis.call('HDEL', CLAIMS .. ARGV[2], string.format('%.0f!', number))
    give_back(ready, envelope, false)
    count = count + 1
  end
end
return count
