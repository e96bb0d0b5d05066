-- Tell what is held by anybody.
--
-- Result   envelopes
-- Atomic because claims go from owner to owner when one dies.

local held = {}
for _, owner in ipairs(redis.call('HKEYS', OWNERS)) do
  for _, claim in ipairs(held_by(owner)) do held[#held + 1] = claim[4] end
end
return held
