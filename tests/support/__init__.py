"""The test harness: servers, peers, proxies, clocks and scripts. tests/README.md says which to use when."""
