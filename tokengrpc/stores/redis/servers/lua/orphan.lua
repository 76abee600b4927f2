-- Returns the incarnation and the key of a running generation whose lease has ended or that was released;
-- 'held' if the lease has not, nil if the generation has ended or is unknown.
local incarnation, key, leased_until = unpack(redis.call('HMGET', meta, 'incarnation', 'key', 'leased_until'))
if not incarnation then
  return nil
end
local _, kind = last_of(stream_of(incarnation))
if kind == 'FINISHED' then
  return nil
end
if tonumber(leased_until) > now() then
  return 'held'
end
return {incarnation, key}
