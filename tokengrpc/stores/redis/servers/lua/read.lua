-- Reads records. ARGV: sequence after which, largest number of records.
-- Returns: incarnation, last sequence, entries; nil for an unknown log.
local incarnation = redis.call('HGET', meta, 'incarnation')
if not incarnation then
  return nil
end
local stream = stream_of(incarnation)
local entries = redis.call('XRANGE', stream, string.format('%d', ARGV[1] + 1), '+', 'COUNT', ARGV[2])
return {incarnation, (last_of(stream)), entries}
