-- Keeps a log for a time after its end. ARGV: owner, epoch, time to live (ms; 0 deletes it), time for which earlier
-- owners are fenced (ms). Returns: whether it did.
local owner, epoch, incarnation = unpack(redis.call('HMGET', meta, 'owner', 'epoch', 'incarnation'))
if owner ~= ARGV[1] or epoch ~= ARGV[2] then
  return 0
end
if tonumber(epoch) > 1 then
  redis.call('SET', fence, epoch, 'PX', ARGV[4])
end
if tonumber(ARGV[3]) > 0 then
  expire(incarnation, ARGV[3])
else
  redis.call('DEL', meta, readers, stream_of(incarnation))
end
return 1
