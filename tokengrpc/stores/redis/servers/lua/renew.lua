-- Renews a lease. ARGV: owner, epoch, lease and time to live (ms).
-- Returns: status, subscribers.
local owner, epoch, incarnation, cancelled =
  unpack(redis.call('HMGET', meta, 'owner', 'epoch', 'incarnation', 'cancelled'))
if not epoch then
  return {without_log(ARGV[2]), 0}
end
if owner ~= ARGV[1] or epoch ~= ARGV[2] then
  return {'fenced', subscribers()}
end
lease(owner, epoch, ARGV[3])
expire(incarnation, ARGV[4])
return {cancelled and 'cancel requested' or 'held', subscribers()}
