"""What helps the tests: servers, peers, proxies, clocks and scripts."""
