-- Tell what an owner holds.
--
-- ARGV[2]  owner
-- Result   {number, first claim of its batch, ready key, envelope, 1 if it has begun else 0, ...} in order of number
-- Atomic so that a claim is not seen with the mark of another moment.

return told_of(ARGV[2])
