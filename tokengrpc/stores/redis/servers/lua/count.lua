-- Sets a replica's number of subscribers. ARGV: replica, number, time for which it counts (ms). Returns: the number over all.
local ttl = redis.call('PTTL', meta)
if ttl == -2 then
  return 0
end
redis.call('HSET', readers, ARGV[1], ARGV[2] .. ' ' .. string.format('%d', now() + ARGV[3]))
if ttl > 0 then
  redis.call('PEXPIRE', readers, ttl)
end
return subscribers()
