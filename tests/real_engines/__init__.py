"""Cases that run against real engines: `make engines`, never `make test`."""
