-- Claims a log. ARGV: owner, incarnation, lease and time to live (ms), key, fingerprint, request.
-- Returns: decision, epoch, owner, fingerprint, incarnation.
local owner, epoch, incarnation, fingerprint =
  unpack(redis.call('HMGET', meta, 'owner', 'epoch', 'incarnation', 'fingerprint'))
local decision = 'created'
if epoch then
  if owner ~= ARGV[1] then
    return {'refused', tonumber(epoch), owner, fingerprint, incarnation}
  end
  decision = incarnation == ARGV[2] and 'repeated' or 'replaced'
end
if decision ~= 'repeated' then
  epoch = (epoch or redis.call('GET', fence) or 0) + 1
  if incarnation then
    redis.call('DEL', meta, readers, stream_of(incarnation))
  end
  redis.call('HSET', meta, 'incarnation', ARGV[2], 'key', ARGV[5], 'fingerprint', ARGV[6], 'request', ARGV[7])
end
lease(ARGV[1], epoch, ARGV[3])
expire(ARGV[2], ARGV[4])
return {decision, tonumber(epoch), ARGV[1], redis.call('HGET', meta, 'fingerprint'), ARGV[2]}
