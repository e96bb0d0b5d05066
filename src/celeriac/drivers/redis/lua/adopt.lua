-- Fence an owner: its claims go to a new owner.
--
-- KEYS[1]  claims of the old owner  KEYS[2] claims of the new one
-- ARGV[2]  old owner  ARGV[3] new owner  ARGV[4] node of the new owner
-- Result   {number, first claim of its batch, ready key, envelope, 1 if it had begun else 0, ...} in order of number; empty if
--          the old owner is not known
-- Atomic because of several who try only one may get the claims, and the old owner must be refused from that moment on.

even_when_full()
redis.call('HDEL', OWNERS, ARGV[2])
if redis.call('EXISTS', KEYS[1]) == 0 then return {} end
for _, batch in ipairs(batches_of(ARGV[2])) do
  local old = batch_of(ARGV[2], batch[1])
  if redis.call('EXISTS', old) == 1 then redis.call('RENAME', old, batch_of(ARGV[3], batch[1])) end
end
redis.call('RENAME', KEYS[1], KEYS[2])
redis.call('HSET', KEYS[2], 's', 0)
redis.call('HSET', OWNERS, ARGV[3], ARGV[4])
redis.call('ZADD', NODES, 'NX', now() + 30000, ARGV[4])
return told_of(ARGV[3])
