-- Compares and appends. ARGV: owner, epoch, lease and time to live (ms), first sequence, then kind and content of each record.
-- Returns: status, last sequence.
local owner, epoch, incarnation, cancelled =
  unpack(redis.call('HMGET', meta, 'owner', 'epoch', 'incarnation', 'cancelled'))
if not epoch then
  return {without_log(ARGV[2]), 0}
end
local stream = stream_of(incarnation)
local last = last_of(stream)
if owner ~= ARGV[1] or epoch ~= ARGV[2] then
  return {'fenced', last}
end
-- Also for a repeated append: WAIT counts replicas from this connection's last write on.
lease(owner, epoch, ARGV[3])
local first, count = tonumber(ARGV[5]), (#ARGV - 5) / 2
if first > last + 1 then
  return {'hole', last}
end
if first + count - 1 <= last then
  return {'repeated', last}
end
for n = last + 1 - first, count - 1 do
  redis.call('XADD', stream, string.format('%d-%s', first + n, epoch), ARGV[6 + 2 * n], ARGV[7 + 2 * n])
end
if last == 0 then
  redis.call('PEXPIRE', stream, ARGV[4])
end
return {cancelled and 'cancel requested' or 'ok', first + count - 1}
