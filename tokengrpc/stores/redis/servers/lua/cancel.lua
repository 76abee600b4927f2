-- Asks the owner to cancel. Returns: owner, empty if there is none; nil for an unknown log.
local owner = redis.call('HGET', meta, 'owner')
if not owner then
  return nil
end
redis.call('HSET', meta, 'cancelled', 1)
return owner
