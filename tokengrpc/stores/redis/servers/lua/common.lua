-- What all scripts share. KEYS[1] is the log's hash; its other keys have the same hash tag, and so the same slot.
local meta = KEYS[1]
local readers = meta .. ':readers'
local fence = meta .. ':fence'

local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

local function stream_of(incarnation)
  return meta .. ':' .. incarnation
end

-- Returns the last sequence of a stream and the kind of its record; 0 for a stream without records.
-- It is read from the stream itself, because a failover may have lost records.
local function last_of(stream)
  local entry = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1]
  if entry then
    return tonumber(string.match(entry[1], '^%d+')), entry[2][1]
  end
  if redis.call('EXISTS', stream) == 1 then
    local info = redis.call('XINFO', 'STREAM', stream)
    for n = 1, #info, 2 do
      if info[n] == 'last-generated-id' then
        return tonumber(string.match(info[n + 1], '^%d+')), ''
      end
    end
  end
  return 0, ''
end

-- Returns the number of subscribers of all replicas whose number still counts.
local function subscribers()
  local sum, time = 0, now()
  for _, value in ipairs(redis.call('HVALS', readers)) do
    local count, till = string.match(value, '^(%d+) (%d+)$')
    if till and tonumber(till) > time then
      sum = sum + tonumber(count)
    end
  end
  return sum
end

-- Lets all keys of a log expire after some milliseconds.
local function expire(incarnation, ttl)
  redis.call('PEXPIRE', meta, ttl)
  redis.call('PEXPIRE', stream_of(incarnation), ttl)
  redis.call('PEXPIRE', readers, ttl)
end

-- Returns the status for an owner of a log that is not there: it is fenced if a later owner has ended the generation.
local function without_log(epoch)
  return tonumber(redis.call('GET', fence) or 0) > tonumber(epoch) and 'fenced' or 'unknown'
end

local function lease(owner, epoch, milliseconds)
  redis.call('HSET', meta, 'owner', owner, 'epoch', epoch, 'leased_until', now() + milliseconds)
end
