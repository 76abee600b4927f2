-- Describes a log. Returns: owner, epoch, time left of the lease (ms), fingerprint, incarnation, request, last sequence,
-- kind of the last record, cancelled, subscribers; nil for an unknown log.
local owner, epoch, leased_until, fingerprint, incarnation, request, cancelled = unpack(redis.call(
  'HMGET', meta, 'owner', 'epoch', 'leased_until', 'fingerprint', 'incarnation', 'request', 'cancelled'))
if not epoch then
  return nil
end
local last, kind = last_of(stream_of(incarnation))
return {owner, tonumber(epoch), math.max(0, leased_until - now()), fingerprint, incarnation, request, last, kind,
  cancelled and 1 or 0, subscribers()}
