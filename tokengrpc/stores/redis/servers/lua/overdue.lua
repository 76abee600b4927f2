-- Returns the hashes of generations whose lease seems to have ended, longest first. KEYS[1]: the list. ARGV: largest number.
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', string.format('%d', now()), 'LIMIT', 0, ARGV[1])
