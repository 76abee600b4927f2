-- Counts tokens in the window of KEYS[1], a hash of sums by second, unless more than the limit would be in it.
-- ARGV: seconds of the window, limit, tokens. Returns the seconds to wait ("0" if they were counted) and the second.
local window, limit, amount = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local current = tonumber(time[1])
local fields = redis.call('HGETALL', KEYS[1])
local total, seconds, counts = 0, {}, {}
for i = 1, #fields, 2 do
  local second, count = tonumber(fields[i]), tonumber(fields[i + 1])
  if second + 1 + window <= now then
    redis.call('HDEL', KEYS[1], fields[i])
  elseif count > 0 then
    total = total + count
    seconds[#seconds + 1] = second
    counts[second] = count
  end
end
local excess = total + amount - limit
if excess <= 0 or total == 0 then
  redis.call('HINCRBY', KEYS[1], current, amount)
  redis.call('EXPIRE', KEYS[1], window + 2)
  return {'0', current}
end
table.sort(seconds)
local last = current
for _, second in ipairs(seconds) do
  excess = excess - counts[second]
  last = second
  if excess <= 0 then break end
end
return {tostring(last + 1 + window - now), current}
