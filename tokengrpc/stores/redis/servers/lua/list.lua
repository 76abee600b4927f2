-- Lists running generations by the end of their leases. KEYS[1]: the list. ARGV: lease (ms), then hashes of generations.
for n = 2, #ARGV do
  redis.call('ZADD', KEYS[1], now() + ARGV[1], ARGV[n])
end
return #ARGV - 1
