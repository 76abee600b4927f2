-- Adds to what was counted in a second of the window of KEYS[1], unless that second is no longer kept.
-- ARGV: the second, the change.
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 then
  redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[2])
end
