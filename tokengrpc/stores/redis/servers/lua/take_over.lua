-- Takes a log over. ARGV: new owner, epoch of the old one, lease and time to live (ms).
-- Returns: status, epoch, owner, last sequence, incarnation.
local owner, epoch, incarnation, leased_until =
  unpack(redis.call('HMGET', meta, 'owner', 'epoch', 'incarnation', 'leased_until'))
if not epoch then
  return {'unknown', 0, '', 0, ''}
end
epoch = tonumber(epoch)
local last, kind = last_of(stream_of(incarnation))
local seen = tonumber(ARGV[2])
local status = 'taken'
if kind == 'FINISHED' then
  status = 'ended'
elseif owner == ARGV[1] and epoch == seen + 1 then
  status = 'taken' -- before: the call was repeated
elseif epoch ~= seen then
  status = 'moved'
elseif tonumber(leased_until) > now() then
  status = 'held'
end
if status == 'taken' then
  owner, epoch = ARGV[1], seen + 1
  lease(owner, epoch, ARGV[3])
  expire(incarnation, ARGV[4])
end
return {status, epoch, owner, last, incarnation}
