-- Store how far a task is, unless what is stored shall stay, or who says it is no owner any more.
--
-- KEYS[1]  the result  KEYS[2] the claims of its owner (only where an owner is named)
-- ARGV[1]  the payload  ARGV[2] ttl in ms or 0  ARGV[3] what the caller has seen stored and does not want to keep, or ''
-- Result   1 if it was stored, 0 if what is there stays, or else what is stored: the caller reads it and says it here as seen.
--          Celery's JSON begins with the state: one that is no end is never kept, and that saves the second call.
-- Atomic because the end of the task may be stored at any moment, by another worker.

if KEYS[2] and redis.call('HEXISTS', KEYS[2], 's') == 0 then return 0 end
local stored = redis.call('GET', KEYS[1])
if stored and stored ~= ARGV[3] then
  local state = string.match(stored, '^{"status": "([^"\\]+)"')
  if not state or state == 'SUCCESS' or state == 'FAILURE' or state == 'REVOKED' then return stored end
end
if ARGV[2] ~= '0' then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
else
  redis.call('SET', KEYS[1], ARGV[1])
end
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 1
