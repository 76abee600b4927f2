-- Gives a log up. ARGV: owner, epoch. Returns: whether it did.
local owner, epoch = unpack(redis.call('HMGET', meta, 'owner', 'epoch'))
if owner ~= ARGV[1] or epoch ~= ARGV[2] then
  return 0
end
redis.call('HSET', meta, 'owner', '', 'leased_until', 0)
return 1
